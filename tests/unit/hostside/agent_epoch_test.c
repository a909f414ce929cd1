/* SPDX-License-Identifier: Apache-2.0 */
/* What happens on a host when the content of a disk is not the same any more (reset, rollback,
 * power cut of the server): the domain ends and begins anew in the one safe order, and no other is
 * touched. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/hostside/agent_rig.h"

/* The server resets the volume of domain a: the spec that its host gets. */
static void reset_a(struct world *w)
{
    w->want[0].incarnation = 2;
    w->want[0].disks[0].epoch = 2;
    w->want[0].disks[0].generation = 2;
    give_spec(w);
    w->done[0] = '\0';
}

static void after_reset(struct world *w)
{
    settle(w);
    expect_running(w, UUID_A, 2);
    assert_int_equal(domain_of(w, UUID_A).disks[0].epoch, 2);
    assert_int_equal(device_count(w), w->want_count);
}

/* Paused first, so that no guest sees what then becomes of its requests; disconnected before it is
 * destroyed, so that nothing holds it. */
static void it_ends_and_begins_in_this_order(void **state)
{
    static const enum attach_link links[] = { ATTACH_LIVE, ATTACH_BROKEN, ATTACH_STALE };

    (void)state;
    for (unsigned i = 0; i < sizeof links / sizeof *links; i++) {
        struct world w;

        world_begins(&w);
        settle(&w);
        attach_sim_set_link(w.disks, "va", links[i]);
        reset_a(&w);
        after_reset(&w);
        assert_string_equal(w.done, "pause;disconnect;destroy;attach;create;");
        world_ends(&w);
    }
}

/* The refused reconnect is heard of first, the new spec comes later. */
static void refused_before_the_spec_comes(void **state)
{
    struct world w;
    (void)state;
    world_begins(&w);
    settle(&w);
    w.done[0] = '\0';
    attach_sim_set_link(w.disks, "va", ATTACH_STALE);
    attach_sim_refuse(w.disks, -ESTALE);
    settle(&w);
    assert_memory_equal(w.done, "pause;disconnect;destroy;", 25);
    assert_int_equal(domain_count(&w), 0);
    attach_sim_refuse(w.disks, 0);
    reset_a(&w);
    after_reset(&w);
    assert_string_equal(w.done, "attach;create;");
    world_ends(&w);
}

static void the_other_domain_runs_on(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    w.want_count = 2;
    give_spec(&w);
    settle(&w);
    struct domain_seen before = domain_of(&w, UUID_B);
    reset_a(&w);
    after_reset(&w);
    struct domain_seen after = domain_of(&w, UUID_B);
    assert_memory_equal(&before, &after, sizeof before);
    assert_string_equal(w.done,
                        "pause;disconnect;destroy;attach;create;"); /* all of them are a's */
    world_ends(&w);
}

/* A new agent finds a domain and a device of an epoch that is over. */
static void found_by_a_new_agent(void **state)
{
    struct world w;

    (void)state;
    world_begins(&w);
    settle(&w);
    agent_dies(&w);
    agent_is_born(&w);
    reset_a(&w);
    after_reset(&w);
    assert_string_equal(w.done, "pause;disconnect;destroy;attach;create;");
    world_ends(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_and_begins_in_this_order),
        cmocka_unit_test(refused_before_the_spec_comes),
        cmocka_unit_test(the_other_domain_runs_on),
        cmocka_unit_test(found_by_a_new_agent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
