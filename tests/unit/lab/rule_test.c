/* SPDX-License-Identifier: Apache-2.0 */
#include "server/lab/rule.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

static const struct {
    const char *rule, *mac;
    bool want;
} rules[] = {
    { NULL, "52:54:00:12:34:56", false },
    { "none", "52:54:00:12:34:56", false },
    { "all", "52:54:00:12:34:56", true },
    { "52:54:00", "52:54:00:12:34:56", true },
    { "52-54-00-", "52:54:00:12:34:56", true },
    { "52:54:01", "52:54:00:12:34:56", false },
    { "00:1B:21:AA, 52:54", "52:54:00:12:34:56", true },
    { "52:54:00:12:34:56", "52:54:00:12:34:56", true },
    { "52:54:00:12:34:56", "52:54:00:12:34:57", false },
};

static void a_rule_approves_by_the_beginning_of_the_mac(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        struct lab_rule r;
        assert_int_equal(lab_rule_read(rules[i].rule, &r, NULL), 0);
        assert_int_equal(lab_rule_approves(&r, rules[i].mac), rules[i].want);
    }
}

static void a_wrong_rule_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",         "5",      "52:5",
                                         "52:5g",    "52,,54", "al",
                                         "52:54 00", "52;54",  "52:54:00:12:34:56:78",
                                         "52,",      "All",    ",52" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct lab_rule r;
        struct err e = { 0 };
        assert_int_equal(lab_rule_read(wrong[i], &r, &e), -EINVAL);
        assert_int_not_equal(e.msg[0], '\0');
    }
}

static void too_many_prefixes_are_refused(void **state)
{
    (void)state;
    struct lab_rule r;
    char text[LAB_PREFIXES_MAX * 3 + 4] = "";
    for (int i = 0; i < LAB_PREFIXES_MAX; i++)
        strcat(text, i ? ",52" : "52");

    assert_int_equal(lab_rule_read(text, &r, NULL), 0);
    assert_int_equal(r.count, LAB_PREFIXES_MAX);
    strcat(text, ",52");
    assert_int_equal(lab_rule_read(text, &r, NULL), -EINVAL);
}

static void a_new_host_is_named_by_its_mac(void **state)
{
    (void)state;
    char name[NAME_SIZE];

    lab_host_name("52:54:00:ab:cd:ef", name);
    assert_string_equal(name, "pc-525400abcdef");
    assert_true(name_valid(name));
}

static void a_mac_is_read_as_people_write_it(void **state)
{
    (void)state;
    char mac[18];

    assert_true(lab_mac_read("52-54-00-AB-CD-EF", mac));
    assert_string_equal(mac, "52:54:00:ab:cd:ef");
    assert_false(lab_mac_read("52:54:00:ab:cd", mac));
    assert_false(lab_mac_read("52:54:00:ab:cd:ef:", mac));
    assert_false(lab_mac_read("pc-525400abcdef-x", mac));
    assert_false(lab_mac_read("", mac));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_approves_by_the_beginning_of_the_mac),
        cmocka_unit_test(a_wrong_rule_is_refused),
        cmocka_unit_test(too_many_prefixes_are_refused),
        cmocka_unit_test(a_new_host_is_named_by_its_mac),
        cmocka_unit_test(a_mac_is_read_as_people_write_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
