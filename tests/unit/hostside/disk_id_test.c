/* SPDX-License-Identifier: Apache-2.0 */
/* VOLUME.GENERATION.EPOCH, the name of a device, there and back. */
#include "tests/unit/unit.h"

#include "hostside/disk_id.h"

#include <errno.h>
#include <string.h>

static void a_text_goes_round_also_with_dots_in_the_name(void **state)
{
    struct disk_id id = { .volume = "a.1.2", .generation = 3, .epoch = 9223372036854775807u };
    struct disk_id back;
    char text[DISK_ID_SIZE];

    (void)state;
    disk_id_text(&id, text);
    assert_string_equal(text, "a.1.2.3.9223372036854775807");
    assert_int_equal(disk_id_parse(text, &back), 0);
    assert_true(disk_id_equal(&id, &back));
    back.epoch--;
    assert_false(disk_id_equal(&id, &back));
}

static void what_is_not_ours_is_refused(void **state)
{
    static const char *const bad[] = {
        "",       "v",      "v.1",    "v.1.", ".1.2",     "v.1.x",
        "V.1.2",  "v.01.2", "v.-1.2", "v..2", "../x.1.2", "v.1.99999999999999999999",
        "v.1.2 ", "v/.1.2",
    };
    char long_name[DISK_ID_SIZE + 8];
    struct disk_id id;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (disk_id_parse(bad[i], &id) != -EINVAL)
            fail_msg("'%s' was taken", bad[i]);
    memset(long_name, 'a', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(disk_id_parse(long_name, &id), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_goes_round_also_with_dots_in_the_name),
        cmocka_unit_test(what_is_not_ours_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
