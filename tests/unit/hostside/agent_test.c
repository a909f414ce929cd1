/* SPDX-License-Identifier: Apache-2.0 */
/* The whole reconciler over simulated domains and devices, which outlive it: it is dropped at every
 * step, in every way, and a new one has to carry on. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "tests/unit/hostside/agent_rig.h"

/* ---- tests ---- */

static void a_desired_domain_comes_up(void **state)
{
    struct world w;
    struct contract_domain_report r;

    (void)state;
    world_begins(&w);
    assert_null(agent_report(w.agent)); /* it has not looked yet */
    settle(&w);
    expect_running(&w, UUID_A, 1);
    assert_string_equal(w.stages, "attach va;create a;");
    agent_tick(w.agent, w.now_ns);
    r = report_of(&w, 0);
    assert_string_equal(r.name, "a");
    assert_int_equal(r.state, CONTRACT_RUNNING);
    assert_int_equal(r.incarnation, 1);
    assert_int_equal(r.domid, domain_of(&w, UUID_A).domid);
    world_ends(&w);
}

static void two_domains_are_brought_up_side_by_side(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    w.want_count = 2;
    give_spec(&w);
    agent_tick(w.agent, w.now_ns);
    assert_int_equal(agent_steps_running(w.agent), 2);
    agent_tick(w.agent, w.now_ns);
    assert_int_equal(agent_steps_running(w.agent), 2); /* one step of a domain at a time */
    settle(&w);
    expect_running(&w, UUID_A, 1);
    expect_running(&w, UUID_B, 1);
    world_ends(&w);
}

static void a_stop_shuts_down_and_lets_the_disk_go(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    settle(&w);
    w.want[0].running = false;
    give_spec(&w);
    settle(&w);
    expect_nothing_there(&w);
    assert_int_equal(report_of(&w, 0).state, CONTRACT_STOPPED);
    assert_int_equal(report_of(&w, 0).incarnation, 0);
    world_ends(&w);
}

static void a_guest_that_does_not_hear_is_destroyed_after_its_time(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    settle(&w);
    domain_sim_set_stubborn(w.domains, true);
    w.want[0].running = false;
    give_spec(&w);
    settle(&w);
    assert_int_equal(domain_of(&w, UUID_A).run, DOMAIN_RUNS);
    assert_int_equal(report_of(&w, 0).state, CONTRACT_STOPPING);
    w.now_ns += 59 * NS_PER_S;
    agent_dies(&w); /* the time that has passed is not forgotten */
    agent_is_born(&w);
    settle(&w);
    assert_int_equal(domain_of(&w, UUID_A).run, DOMAIN_RUNS);
    w.now_ns += NS_PER_S;
    settle(&w);
    expect_nothing_there(&w);
    world_ends(&w);
}

static void the_guest_reboots_onto_the_same_device(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    settle(&w);
    w.stages[0] = '\0';
    w.now_ns += 300 * NS_PER_S;
    domain_sim_end(w.domains, UUID_A, DOMAIN_END_REBOOT);
    settle(&w);
    expect_running(&w, UUID_A, 1);
    assert_string_equal(w.stages, "create a;");
    world_ends(&w);
}

static void a_guest_that_crashes_again_and_again_is_restarted_with_a_delay(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    settle(&w);
    for (int i = 0; i < 3; i++) { /* 1 s, 2 s, 4 s */
        domain_sim_end(w.domains, UUID_A, DOMAIN_END_CRASH);
        settle(&w);
        assert_int_equal(domain_count(&w), 0);
        w.now_ns += (NS_PER_S << i) - 1;
        settle(&w);
        assert_int_equal(domain_count(&w), 0);
        w.now_ns += 1;
        settle(&w);
        expect_running(&w, UUID_A, 1);
    }
    w.now_ns += 61 * NS_PER_S; /* a long life: at once */
    domain_sim_end(w.domains, UUID_A, DOMAIN_END_CRASH);
    settle(&w);
    expect_running(&w, UUID_A, 1);
    world_ends(&w);
}

static void a_moved_epoch_starts_the_domain_anew(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    settle(&w);
    w.want[0].incarnation = 2;
    w.want[0].disks[0].epoch = 2;
    give_spec(&w);
    settle(&w);
    expect_running(&w, UUID_A, 2);
    assert_int_equal(domain_of(&w, UUID_A).disks[0].epoch, 2);
    assert_int_equal(device_count(&w), 1);
    world_ends(&w);
}

static void a_refused_reconnect_ends_the_domain_until_a_new_spec_comes(void **state)
{
    struct world w;
    (void)state;
    world_begins(&w);
    settle(&w);
    attach_sim_set_link(w.disks, "va", ATTACH_STALE);
    attach_sim_refuse(w.disks, -ESTALE);
    settle(&w);
    assert_int_equal(domain_count(&w), 0);
    assert_int_equal(report_of(&w, 0).state, CONTRACT_FAILED);
    assert_non_null(strstr(report_of(&w, 0).detail, "the server refuses"));
    attach_sim_refuse(w.disks, 0);
    settle(&w); /* not before its time */
    assert_int_equal(domain_count(&w), 0);
    w.want[0].incarnation = 2;
    w.want[0].disks[0].epoch = 2;
    give_spec(&w); /* but a new spec is tried at once */
    settle(&w);
    expect_running(&w, UUID_A, 2);
    world_ends(&w);
}

static void a_broken_link_disturbs_nothing(void **state)
{
    struct world w;
    unsigned steps;

    (void)state;
    world_begins(&w);
    settle(&w);
    steps = w.steps;
    attach_sim_set_link(w.disks, "va", ATTACH_BROKEN);
    settle(&w);
    assert_int_equal(w.steps, steps);
    assert_int_equal(report_of(&w, 0).state, CONTRACT_RUNNING);
    assert_non_null(strstr(report_of(&w, 0).detail, "connection lost"));
    world_ends(&w);
}

static void what_failed_is_tried_again_later(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    attach_sim_refuse(w.disks, -ECONNREFUSED);
    settle(&w);
    assert_int_equal(w.steps, 1);
    assert_int_equal(report_of(&w, 0).state, CONTRACT_FAILED);
    w.now_ns += NS_PER_S;
    settle(&w);
    assert_int_equal(w.steps, 2);
    w.now_ns += NS_PER_S; /* the second delay is longer */
    settle(&w);
    assert_int_equal(w.steps, 2);
    attach_sim_refuse(w.disks, 0);
    w.now_ns += NS_PER_S;
    settle(&w);
    expect_running(&w, UUID_A, 1);
    world_ends(&w);
}

static void an_unapproved_spec_touches_nothing(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    settle(&w);
    w.approved = false;
    w.want_count = 0;
    give_spec(&w);
    settle(&w);
    expect_running(&w, UUID_A, 1);
    world_ends(&w);
}

static void what_is_not_desired_any_more_goes(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    w.want_count = 2;
    give_spec(&w);
    settle(&w);
    w.want_count = 1;
    give_spec(&w);
    settle(&w);
    expect_running(&w, UUID_A, 1);
    assert_int_equal(device_count(&w), 1);
    world_ends(&w);
}

static void somebody_elses_domain_is_left_alone_and_its_name_is_in_the_way(void **state)
{
    struct world w;
    struct contract_domain foreign = domain("a", UUID_B, "x");
    char paths[1][DOMAIN_PATH_SIZE] = { "/dev/null" };
    uint32_t domid;

    (void)state;
    world_begins(&w);
    foreign.incarnation = 0;
    w.domains->ops->create(w.domains, &foreign, paths, &domid, NULL);
    settle(&w);
    assert_int_equal(w.steps, 0);
    assert_int_equal(report_of(&w, 0).state, CONTRACT_FAILED);
    assert_non_null(strstr(report_of(&w, 0).detail, "not Gridbox's"));
    w.domains->ops->destroy(w.domains, domid, NULL);
    settle(&w);
    expect_running(&w, UUID_A, 1);
    world_ends(&w);
}

static void a_volume_is_not_given_to_a_second_domain_before_the_first_is_gone(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    settle(&w);
    w.want[0] = domain("b", UUID_B, "va"); /* the same volume under another domain */
    give_spec(&w);
    while (agent_tick(w.agent, w.now_ns), w.queue) {
        do_step(&w);
        assert_in_range(domain_count(&w), 0, 1);
    }
    expect_running(&w, UUID_B, 1);
    world_ends(&w);
}

/* ---- killed at every step ---- */

enum death {
    BEFORE, /* the step was ordered, and is never done */
    AFTER,  /* it was done, and nobody heard of it */
    HALF    /* a create was done up to the domain that is paused and unmarked as made */
};

/* Domain b runs all the time; the way of domain a from its present state to the spec is gone once
 * for every step of it and every kind of death. */
static void kill_at_each_step(void (*prepare)(struct world *), void (*expect)(struct world *))
{
    for (unsigned kill_at = 0;; kill_at++) {
        bool killed = false;

        for (enum death death = BEFORE; death <= HALF; death++) {
            struct world w;
            uint32_t domid_b;

            world_begins(&w);
            w.want[0].running = false;
            w.want_count = 2;
            give_spec(&w);
            settle(&w);
            domid_b = domain_of(&w, UUID_B).domid;
            prepare(&w);
            w.steps = 0;
            while (agent_tick(w.agent, w.now_ns), w.queue) {
                if (w.steps < kill_at) {
                    do_step(&w);
                    continue;
                }
                killed = true;
                if (death == AFTER)
                    step_run(w.queue, w.domains, w.disks);
                if (death == HALF && w.queue->kind == PLAN_CREATE)
                    w.domains->ops->create(w.domains, &w.queue->want, w.queue->paths,
                                           &w.queue->domid, NULL);
                break;
            }
            agent_dies(&w);
            agent_is_born(&w);
            settle(&w);
            expect(&w);
            assert_int_equal(domain_of(&w, UUID_B).domid, domid_b);
            expect_running(&w, UUID_B, 1);
            world_ends(&w);
        }
        if (!killed)
            return; /* the way has no more steps */
        assert_in_range(kill_at, 0, 20);
    }
}

static void prepare_start(struct world *w)
{
    w->want[0].running = true;
    give_spec(w);
}

static void expect_a_up(struct world *w)
{
    expect_running(w, UUID_A, w->want[0].incarnation);
    assert_int_equal(device_count(w), 2);
}

static void killed_at_each_step_of_a_start(void **state)
{
    (void)state;
    kill_at_each_step(prepare_start, expect_a_up);
}

static void prepare_stop(struct world *w)
{
    prepare_start(w);
    settle(w);
    w->want[0].running = false;
    give_spec(w);
}

static void expect_a_gone(struct world *w)
{
    struct domain_seen all[8];

    assert_int_equal(domains_of(w, all), 1);
    assert_int_equal(device_count(w), 1);
}

static void killed_at_each_step_of_a_stop(void **state)
{
    (void)state;
    kill_at_each_step(prepare_stop, expect_a_gone);
}

static void prepare_new_epoch(struct world *w)
{
    prepare_start(w);
    settle(w);
    attach_sim_set_link(w->disks, "va", ATTACH_STALE);
    w->want[0].incarnation = 2;
    w->want[0].disks[0].epoch = 2;
    give_spec(w);
}

static void killed_at_each_step_of_a_new_epoch(void **state)
{
    (void)state;
    kill_at_each_step(prepare_new_epoch, expect_a_up);
}

static void prepare_reboot(struct world *w)
{
    prepare_start(w);
    settle(w);
    w->now_ns += 300 * NS_PER_S;
    domain_sim_end(w->domains, UUID_A, DOMAIN_END_REBOOT);
}

static void killed_at_each_step_of_a_reboot(void **state)
{
    (void)state;
    kill_at_each_step(prepare_reboot, expect_a_up);
}

static void prepare_nothing(struct world *w)
{
    prepare_start(w);
    settle(w);
}

static void a_new_agent_keeps_what_it_finds(void **state)
{
    struct world w;
    uint32_t domid;

    (void)state;
    world_begins(&w);
    settle(&w);
    domid = domain_of(&w, UUID_A).domid;
    agent_dies(&w);
    agent_is_born(&w);
    w.steps = 0;
    settle(&w);
    assert_int_equal(w.steps, 1); /* the device is kept, no more */
    assert_int_equal(domain_of(&w, UUID_A).domid, domid);
    assert_int_equal(report_of(&w, 0).state, CONTRACT_RUNNING);
    world_ends(&w);
    kill_at_each_step(prepare_nothing, expect_a_up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_desired_domain_comes_up),
        cmocka_unit_test(two_domains_are_brought_up_side_by_side),
        cmocka_unit_test(a_stop_shuts_down_and_lets_the_disk_go),
        cmocka_unit_test(a_guest_that_does_not_hear_is_destroyed_after_its_time),
        cmocka_unit_test(the_guest_reboots_onto_the_same_device),
        cmocka_unit_test(a_guest_that_crashes_again_and_again_is_restarted_with_a_delay),
        cmocka_unit_test(a_moved_epoch_starts_the_domain_anew),
        cmocka_unit_test(a_refused_reconnect_ends_the_domain_until_a_new_spec_comes),
        cmocka_unit_test(a_broken_link_disturbs_nothing),
        cmocka_unit_test(what_failed_is_tried_again_later),
        cmocka_unit_test(an_unapproved_spec_touches_nothing),
        cmocka_unit_test(what_is_not_desired_any_more_goes),
        cmocka_unit_test(somebody_elses_domain_is_left_alone_and_its_name_is_in_the_way),
        cmocka_unit_test(a_volume_is_not_given_to_a_second_domain_before_the_first_is_gone),
        cmocka_unit_test(killed_at_each_step_of_a_start),
        cmocka_unit_test(killed_at_each_step_of_a_stop),
        cmocka_unit_test(killed_at_each_step_of_a_new_epoch),
        cmocka_unit_test(killed_at_each_step_of_a_reboot),
        cmocka_unit_test(a_new_agent_keeps_what_it_finds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
