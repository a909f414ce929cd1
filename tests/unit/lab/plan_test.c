/* SPDX-License-Identifier: Apache-2.0 */
#include "server/lab/plan.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

static struct lab_domain domain(void)
{
    struct lab_domain d = {
        .domain = { .id = 4,
                    .name = "web",
                    .host_id = 7,
                    .memory_mib = 256,
                    .vcpus = 2,
                    .mac = "00:16:3e:01:02:03",
                    .uuid = "3c7b52e4-9d2a-4f25-a1f3-5a4a8f3b6c01",
                    .definition = 1,
                    .running = true,
                    .stop_seconds = 60 },
        .volume = { .id = 9,
                    .name = "web",
                    .size_bytes = 1 << 30,
                    .generation = 5,
                    .epoch = 2,
                    .attachment = { .id = 3, .host_id = 7, .generation = 5, .epoch = 2 } },
    };
    memset(d.volume.attachment.token, 0xa5, sizeof d.volume.attachment.token);
    return d;
}

static const struct cat_host approved = {
    .id = 7, .name = "pc1", .approved = true, .revision = 12
};

static void a_domain_gets_its_disk_and_its_secret(void **state)
{
    (void)state;
    struct lab_domain d = domain();
    struct contract_spec s = { 0 };

    assert_int_equal(lab_plan(&approved, &d, 1, "10.77.0.1", 10809, &s, NULL), 0);
    assert_int_equal(s.revision, 12);
    assert_true(s.approved);
    assert_int_equal(s.domain_count, 1);
    const struct contract_domain *got = &s.domains[0];
    assert_string_equal(got->name, "web");
    assert_string_equal(got->uuid, d.domain.uuid);
    assert_string_equal(got->mac, d.domain.mac);
    assert_int_equal(got->memory_mib, 256);
    assert_int_equal(got->vcpus, 2);
    assert_true(got->running);
    assert_int_equal(got->stop_seconds, 60);
    assert_int_equal(got->incarnation, lab_incarnation(&d));
    assert_int_equal(got->disk_count, 1);
    assert_string_equal(got->disks[0].vdev, "xvda");
    assert_string_equal(got->disks[0].volume, "web");
    assert_string_equal(got->disks[0].address, "10.77.0.1");
    assert_int_equal(got->disks[0].port, 10809);
    assert_string_equal(got->disks[0].export_name, "web.a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5");
    assert_int_equal(got->disks[0].size_bytes, 1 << 30);
    assert_int_equal(got->disks[0].generation, 5);
    assert_int_equal(got->disks[0].epoch, 2);
    contract_spec_done(&s);
}

static void a_domain_waits_with_its_disk(void **state)
{
    (void)state;
    struct lab_domain d = domain();
    uint64_t incarnation = lab_incarnation(&d);
    struct contract_spec s = { 0 };

    d.parked = true;
    assert_int_equal(lab_plan(&approved, &d, 1, "10.77.0.1", 10809, &s, NULL), 0);
    assert_true(s.domains[0].running && s.domains[0].paused);
    assert_int_equal(s.domains[0].incarnation, incarnation);
    contract_spec_done(&s);
    d.domain.running = false; /* it must run to shut down */
    assert_int_equal(lab_plan(&approved, &d, 1, "10.77.0.1", 10809, &s, NULL), 0);
    assert_false(s.domains[0].running || s.domains[0].paused);
    contract_spec_done(&s);
}

static void a_host_that_waits_gets_nothing(void **state)
{
    (void)state;
    struct lab_domain d = domain();
    struct cat_host waiting = approved;
    struct contract_spec s = { 0 };

    waiting.approved = false;
    assert_int_equal(lab_plan(&waiting, &d, 1, "10.77.0.1", 10809, &s, NULL), 0);
    assert_false(s.approved);
    assert_int_equal(s.domain_count, 0);
    contract_spec_done(&s);
}

/* Each way in which the disk is not this host's any more. */
static void a_domain_without_its_disk_is_to_be_stopped(void **state)
{
    (void)state;
    struct lab_domain lost[5];
    for (size_t i = 0; i < 5; i++)
        lost[i] = domain();
    lost[0].volume.attachment.id = 0;      /* detached */
    lost[1].volume.attachment.host_id = 8; /* another host's */
    lost[2].volume.generation = 6;         /* taken over */
    lost[3].volume.epoch = 3;              /* its content changed */
    lost[4].volume.failed = true;

    for (size_t i = 0; i < 5; i++) {
        struct contract_spec s = { 0 };
        assert_false(lab_has_disk(&lost[i]));
        assert_int_equal(lab_plan(&approved, &lost[i], 1, "10.77.0.1", 10809, &s, NULL), 0);
        assert_false(s.domains[0].running);
        assert_int_equal(s.domains[0].disk_count, 0);
        contract_spec_done(&s);
    }
}

static void the_incarnation_moves_with_what_a_domain_stands_on(void **state)
{
    (void)state;
    struct lab_domain d = domain();
    uint64_t first = lab_incarnation(&d);

    assert_true(first > 0 && first < 1ull << 53);
    struct lab_domain generation = d, epoch = d, definition = d, another = d, stopped = d;
    generation.volume.generation++;
    epoch.volume.epoch++;
    definition.domain.definition++;
    another.domain.uuid[0] = '4';
    stopped.domain.running = false;
    assert_true(lab_incarnation(&generation) != first);
    assert_true(lab_incarnation(&epoch) != first);
    assert_true(lab_incarnation(&definition) != first);
    assert_true(lab_incarnation(&another) != first);
    assert_true(lab_incarnation(&stopped) == first);
}

static void a_spec_has_a_limit(void **state)
{
    (void)state;
    struct lab_domain d = domain();
    struct contract_spec s = { 0 };
    struct err e = { 0 };

    assert_int_equal(lab_plan(&approved, &d, CONTRACT_DOMAINS_MAX + 1, "10.77.0.1", 10809, &s, &e),
                     -E2BIG);
}

static void new_domains_get_addresses_of_xen_and_random_uuids(void **state)
{
    (void)state;
    char mac[2][CONTRACT_MAC_SIZE], uuid[2][CONTRACT_UUID_SIZE];

    for (int i = 0; i < 2; i++) {
        lab_domain_mac(mac[i]);
        lab_domain_uuid(uuid[i]);
        assert_int_equal(strlen(mac[i]), 17);
        assert_int_equal(strncmp(mac[i], "00:16:3e:", 9), 0);
        assert_int_equal(strlen(uuid[i]), 36);
        assert_int_equal(uuid[i][14], '4');
        assert_non_null(strchr("89ab", uuid[i][19]));
    }
    assert_string_not_equal(uuid[0], uuid[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_domain_gets_its_disk_and_its_secret),
        cmocka_unit_test(a_domain_waits_with_its_disk),
        cmocka_unit_test(a_host_that_waits_gets_nothing),
        cmocka_unit_test(a_domain_without_its_disk_is_to_be_stopped),
        cmocka_unit_test(the_incarnation_moves_with_what_a_domain_stands_on),
        cmocka_unit_test(a_spec_has_a_limit),
        cmocka_unit_test(new_domains_get_addresses_of_xen_and_random_uuids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
