/* SPDX-License-Identifier: Apache-2.0 */
/* Every situation that the planner knows, as a table: what is desired, what is there, which step.
 */
#include "tests/unit/unit.h"

#include "hostside/plan.h"

#include <string.h>

#include "server/base/clock.h"

#define NOW (1000 * NS_PER_S)

/* RUN2: a later incarnation; TWO: two disks; WAIT: its disk waits for room */
enum want { GONE, STOP, RUN, RUN2, TWO, WAIT };
enum have {
    NONE,
    HALF,
    NAMELESS,
    RUNS,
    PAUSED,
    ASKED,
    UNHEARD, /* asked to stop while it did not listen yet */
    OVERDUE,
    OVERDUE_PAUSED,
    OFF,
    REBOOT,
    CRASHED,
    DYING,
    OLD_RUNS,
    OLD_PAUSED
};
/* One letter per device: F found, L live, B broken, S stale, X leaving; a lower-case letter is an
 * earlier life (epoch) of the volume.  The n-th device belongs to the n-th disk. */

/* clang-format off */
static const struct {
    const char *name;
    enum want want;
    enum have have;
    const char *devices;
    enum plan_step step;
    unsigned disk, device;
    enum contract_state state;
} cases[] = {
    /* coming up */
    { "first disk is attached",               RUN,  NONE, "",   PLAN_ATTACH,     0, 0, CONTRACT_ATTACHING },
    { "second disk is attached",              TWO,  NONE, "L",  PLAN_ATTACH,     1, 0, CONTRACT_ATTACHING },
    { "all disks live: create",               RUN,  NONE, "L",  PLAN_CREATE,     0, 0, CONTRACT_CREATING },
    { "both disks live: create",              TWO,  NONE, "LL", PLAN_CREATE,     0, 0, CONTRACT_CREATING },
    { "found device is kept, not attached",   RUN,  NONE, "F",  PLAN_KEEP,       0, 0, CONTRACT_ATTACHING },
    { "broken link is awaited",               RUN,  NONE, "B",  PLAN_WAIT,       0, 0, CONTRACT_ATTACHING },
    { "stale device goes first",              RUN,  NONE, "S",  PLAN_DISCONNECT, 0, 0, CONTRACT_ATTACHING },
    { "device of an earlier life goes first", RUN,  NONE, "l",  PLAN_DISCONNECT, 0, 0, CONTRACT_ATTACHING },
    { "found earlier life goes, is not kept", RUN,  NONE, "f",  PLAN_DISCONNECT, 0, 0, CONTRACT_ATTACHING },
    { "leaving device is awaited",            RUN,  NONE, "X",  PLAN_WAIT,       0, 0, CONTRACT_ATTACHING },
    { "leaving earlier life is awaited",      RUN,  NONE, "x",  PLAN_WAIT,       0, 0, CONTRACT_ATTACHING },
    { "half-made domain is destroyed",        RUN,  HALF, "L",  PLAN_DESTROY,    0, 0, CONTRACT_CREATING },
    { "nameless domain is destroyed",         RUN,  NAMELESS, "L", PLAN_DESTROY, 0, 0, CONTRACT_CREATING },
    { "made but never started: start",        RUN,  PAUSED, "L", PLAN_START,     0, 0, CONTRACT_CREATING },
    { "not started over a broken link",       RUN,  PAUSED, "B", PLAN_WAIT,      0, 0, CONTRACT_CREATING },
    { "found device is kept before start",    RUN,  PAUSED, "F", PLAN_KEEP,      0, 0, CONTRACT_RUNNING },
    /* running */
    { "as desired: nothing",                  RUN,  RUNS, "L",  PLAN_NOTHING,    0, 0, CONTRACT_RUNNING },
    { "running over a broken link: nothing",  RUN,  RUNS, "B",  PLAN_NOTHING,    0, 0, CONTRACT_RUNNING },
    { "new agent keeps the device",           RUN,  RUNS, "F",  PLAN_KEEP,       0, 0, CONTRACT_RUNNING },
    { "new agent keeps the second device",    TWO,  RUNS, "LF", PLAN_KEEP,       1, 1, CONTRACT_RUNNING },
    { "guest rebooted: destroyed",            RUN,  REBOOT, "L", PLAN_DESTROY,   0, 0, CONTRACT_CREATING },
    { "guest powered off: destroyed",         RUN,  OFF, "L",   PLAN_DESTROY,    0, 0, CONTRACT_CREATING },
    { "guest crashed: destroyed",             RUN,  CRASHED, "L", PLAN_DESTROY,  0, 0, CONTRACT_CREATING },
    { "was asked to stop, is desired again",  RUN,  ASKED, "L", PLAN_WAIT,       0, 0, CONTRACT_STOPPING },
    /* a disk is over */
    { "stale disk: pause",                    RUN,  RUNS, "S",  PLAN_PAUSE,      0, 0, CONTRACT_CREATING },
    { "stale disk, paused: disconnect",       RUN,  PAUSED, "S", PLAN_DISCONNECT, 0, 0, CONTRACT_CREATING },
    { "stale disk, disconnected: destroy",    RUN,  PAUSED, "X", PLAN_DESTROY,   0, 0, CONTRACT_CREATING },
    { "no device under a domain: pause",      RUN,  RUNS, "",   PLAN_PAUSE,      0, 0, CONTRACT_CREATING },
    { "no device, paused: destroy, no start", RUN,  PAUSED, "", PLAN_DESTROY,    0, 0, CONTRACT_CREATING },
    { "second disk stale: it is let go",      TWO,  PAUSED, "LS", PLAN_DISCONNECT, 0, 1, CONTRACT_CREATING },
    { "epoch moved under it: pause",          RUN2, OLD_RUNS, "l", PLAN_PAUSE,   0, 0, CONTRACT_CREATING },
    { "epoch moved, good link: disconnect",   RUN2, OLD_PAUSED, "l", PLAN_DISCONNECT, 0, 0, CONTRACT_CREATING },
    { "epoch moved, found link: disconnect",  RUN2, OLD_PAUSED, "f", PLAN_DISCONNECT, 0, 0, CONTRACT_CREATING },
    { "epoch moved, disconnected: destroy",   RUN2, OLD_PAUSED, "x", PLAN_DESTROY, 0, 0, CONTRACT_CREATING },
    { "only its definition changed: destroy", RUN2, PAUSED, "L", PLAN_DESTROY,   0, 0, CONTRACT_CREATING },
    { "epoch moved, refused: disconnect",     RUN2, OLD_PAUSED, "s", PLAN_DISCONNECT, 0, 0, CONTRACT_CREATING },
    { "epoch moved, server away: disconnect", RUN2, OLD_PAUSED, "b", PLAN_DISCONNECT, 0, 0, CONTRACT_CREATING },
    { "destroyed, still dying: disconnect",   RUN,  DYING, "B", PLAN_DISCONNECT, 0, 0, CONTRACT_STOPPING },
    { "destroyed, found device: disconnect",  RUN,  DYING, "F", PLAN_DISCONNECT, 0, 0, CONTRACT_STOPPING },
    { "destroyed, still dying: wait",         RUN,  DYING, "L", PLAN_WAIT,       0, 0, CONTRACT_STOPPING },
    { "destroyed, still dying, leaving",      RUN,  DYING, "X", PLAN_WAIT,       0, 0, CONTRACT_STOPPING },
    /* its disk waits for room */
    { "disk parked: pause",                   WAIT, RUNS, "L",  PLAN_PAUSE,      0, 0, CONTRACT_RUNNING },
    { "disk parked, paused: nothing",         WAIT, PAUSED, "L", PLAN_NOTHING,   0, 0, CONTRACT_RUNNING },
    { "disk parked, new agent: kept",         WAIT, PAUSED, "F", PLAN_KEEP,      0, 0, CONTRACT_RUNNING },
    { "disk parked, server away: nothing",    WAIT, PAUSED, "B", PLAN_NOTHING,   0, 0, CONTRACT_RUNNING },
    { "disk parked and over: disconnect",     WAIT, PAUSED, "S", PLAN_DISCONNECT, 0, 0, CONTRACT_CREATING },
    { "disk goes on: start",                  RUN,  PAUSED, "L", PLAN_START,     0, 0, CONTRACT_CREATING },
    { "disk parked, not there: create",       WAIT, NONE, "L",  PLAN_CREATE,     0, 0, CONTRACT_CREATING },
    { "disk parked, guest is off: destroyed", WAIT, OFF, "L",   PLAN_DESTROY,    0, 0, CONTRACT_CREATING },
    /* going down */
    { "stop: ask the guest",                  STOP, RUNS, "L",  PLAN_SHUTDOWN,   0, 0, CONTRACT_STOPPING },
    { "stop: device kept first",              STOP, RUNS, "F",  PLAN_KEEP,       0, 0, CONTRACT_STOPPING },
    { "stop: not heard, asked again",         STOP, UNHEARD, "L", PLAN_SHUTDOWN, 0, 0, CONTRACT_STOPPING },
    { "stop: asked, within its time",         STOP, ASKED, "L", PLAN_WAIT,       0, 0, CONTRACT_STOPPING },
    { "stop: over time: pause",               STOP, OVERDUE, "L", PLAN_PAUSE,    0, 0, CONTRACT_STOPPING },
    { "stop: over time, paused: destroy",     STOP, OVERDUE_PAUSED, "L", PLAN_DESTROY, 0, 0, CONTRACT_STOPPING },
    { "stop: paused: goes on first",          STOP, PAUSED, "L", PLAN_START,     0, 0, CONTRACT_STOPPING },
    { "stop: guest is off: destroy",          STOP, OFF, "L",   PLAN_DESTROY,    0, 0, CONTRACT_STOPPING },
    { "stop: guest rebooted: destroy",        STOP, REBOOT, "L", PLAN_DESTROY,   0, 0, CONTRACT_STOPPING },
    { "stop: half made: destroy",             STOP, HALF, "L",  PLAN_DESTROY,    0, 0, CONTRACT_STOPPING },
    { "stopped: disk is let go",              STOP, NONE, "L",  PLAN_DISCONNECT, 0, 0, CONTRACT_STOPPING },
    { "stopped: found disk is let go",        STOP, NONE, "F",  PLAN_DISCONNECT, 0, 0, CONTRACT_STOPPING },
    { "stopped: second disk is let go",       STOP, NONE, "XL", PLAN_DISCONNECT, 0, 1, CONTRACT_STOPPING },
    { "stopped: disk is leaving",             STOP, NONE, "X",  PLAN_WAIT,       0, 0, CONTRACT_STOPPING },
    { "stopped, nothing left",                STOP, NONE, "",   PLAN_NOTHING,    0, 0, CONTRACT_STOPPED },
    { "not desired: pause",                   GONE, RUNS, "L",  PLAN_PAUSE,      0, 0, CONTRACT_STOPPING },
    { "not desired, paused: destroy",         GONE, PAUSED, "L", PLAN_DESTROY,   0, 0, CONTRACT_STOPPING },
    { "not desired, gone: disk is let go",    GONE, NONE, "F",  PLAN_DISCONNECT, 0, 0, CONTRACT_STOPPING },
    { "not desired, nothing left",            GONE, NONE, "",   PLAN_NOTHING,    0, 0, CONTRACT_STOPPED },
};
/* clang-format on */

struct world {
    struct contract_domain want;
    struct domain_seen have;
    struct attach_seen devices[2];
    struct plan_input in;
};

static void set_want(struct world *w, enum want want)
{
    w->want = (struct contract_domain){ .name = "d",
                                        .running = want != STOP,
                                        .paused = want == WAIT,
                                        .stop_seconds = 60,
                                        .incarnation = want == RUN2 ? 2 : 1 };
    w->want.disk_count = want == TWO ? 2 : 1;
    for (unsigned i = 0; i < w->want.disk_count; i++) {
        struct contract_disk *d = &w->want.disks[i];

        strcpy(d->volume, i ? "v1" : "v0");
        d->generation = 1;
        d->epoch = 2;
    }
    w->in.want = want == GONE ? NULL : &w->want;
}

static void set_have(struct world *w, enum want want, enum have have)
{
    struct domain_seen *h = &w->have;

    *h = (struct domain_seen){ .domid = 1, .marked = true, .made = true, .incarnation = 1 };
    h->marked = have != NAMELESS;
    h->made = have != HALF && have != NAMELESS;
    h->disk_count = want == TWO ? 2 : 1;
    for (unsigned i = 0; i < h->disk_count; i++)
        h->disks[i] =
            (struct disk_id){ .generation = 1, .epoch = have >= OLD_RUNS ? 1 : 2, .volume = "v0" };
    if (h->disk_count == 2)
        strcpy(h->disks[1].volume, "v1");
    h->run = have == HALF || have == NAMELESS || have == PAUSED || have == OLD_PAUSED ||
                     have == OVERDUE_PAUSED
                 ? DOMAIN_PAUSED
             : have == OFF || have == REBOOT || have == CRASHED ? DOMAIN_ENDED
             : have == DYING                                    ? DOMAIN_DYING
                                                                : DOMAIN_RUNS;
    h->end = have == REBOOT    ? DOMAIN_END_REBOOT
             : have == CRASHED ? DOMAIN_END_CRASH
                               : DOMAIN_END_POWEROFF;
    if (have == ASKED || have == UNHEARD)
        h->stop_asked_ns = NOW - NS_PER_S;
    h->stop_heard = have == ASKED || have == OVERDUE || have == OVERDUE_PAUSED;
    if (have == OVERDUE || have == OVERDUE_PAUSED)
        h->stop_asked_ns = NOW - 61 * NS_PER_S;
    w->in.have = have == NONE ? NULL : h;
}

static void set_devices(struct world *w, const char *letters)
{
    static const char all[] = "FLBSX";

    for (unsigned i = 0; letters[i]; i++) {
        const char *at = strchr(all, letters[i] & ~0x20);
        struct attach_seen *d = &w->devices[i];

        *d = (struct attach_seen){ .index = i, .link = (enum attach_link)(at - all) };
        d->id = (struct disk_id){ .generation = 1, .epoch = letters[i] & 0x20 ? 1 : 2 };
        strcpy(d->id.volume, i ? "v1" : "v0");
        w->in.device_count = i + 1;
    }
    w->in.devices = w->devices;
}

static void each_situation_has_its_step(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world w = { .in = { .now_ns = NOW } };
        struct plan p;

        set_want(&w, cases[i].want);
        set_have(&w, cases[i].want, cases[i].have);
        set_devices(&w, cases[i].devices);
        p = plan_next(&w.in);
        if (p.step != cases[i].step || p.state != cases[i].state || p.disk != cases[i].disk ||
            p.device != cases[i].device)
            fail_msg("%s: step %s disk %u device %u state %s, wanted %s", cases[i].name,
                     plan_step_name(p.step), p.disk, p.device, contract_state_name(p.state),
                     plan_step_name(cases[i].step));
        if (p.step == PLAN_WAIT && p.wake_ns && p.wake_ns <= NOW)
            fail_msg("%s: waits for a moment that is over", cases[i].name);
    }
}

static void a_clean_stop_waits_until_its_deadline(void **state)
{
    struct world w = { .in = { .now_ns = NOW } };
    struct plan p;

    (void)state;
    set_want(&w, STOP);
    set_have(&w, STOP, ASKED);
    set_devices(&w, "L");
    p = plan_next(&w.in);
    assert_int_equal(p.step, PLAN_WAIT);
    assert_int_equal(p.wake_ns, NOW - NS_PER_S + 60 * NS_PER_S);
}

static void a_domain_that_keeps_ending_is_not_made_before_its_time(void **state)
{
    struct world w = { .in = { .now_ns = NOW, .create_after_ns = NOW + 5 } };
    struct plan p;

    (void)state;
    set_want(&w, RUN);
    set_have(&w, RUN, NONE);
    set_devices(&w, "L");
    p = plan_next(&w.in);
    assert_int_equal(p.step, PLAN_WAIT);
    assert_int_equal(p.wake_ns, NOW + 5);
    w.in.now_ns = NOW + 5;
    assert_int_equal(plan_next(&w.in).step, PLAN_CREATE);
}

static void what_is_in_the_way_is_told_and_nothing_attached(void **state)
{
    struct world w = { .in = { .now_ns = NOW, .in_the_way = "volume 'v0' is in use by 'x'" } };
    struct plan p;

    (void)state;
    set_want(&w, RUN);
    set_have(&w, RUN, NONE);
    set_devices(&w, "");
    p = plan_next(&w.in);
    assert_int_equal(p.step, PLAN_WAIT);
    assert_int_equal(p.state, CONTRACT_FAILED);
    assert_string_equal(p.detail, "volume 'v0' is in use by 'x'");
}

static void a_broken_link_is_told(void **state)
{
    struct world w = { .in = { .now_ns = NOW } };

    (void)state;
    set_want(&w, RUN);
    set_have(&w, RUN, RUNS);
    set_devices(&w, "B");
    strcpy(w.devices[0].why, "connection refused");
    assert_string_equal(plan_next(&w.in).detail,
                        "disk 'v0': connection lost, being made again: connection refused");
}

static void every_step_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PLAN_STEP_COUNT; i++)
        assert_string_not_equal(plan_step_name((enum plan_step)i), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_situation_has_its_step),
        cmocka_unit_test(a_clean_stop_waits_until_its_deadline),
        cmocka_unit_test(a_domain_that_keeps_ending_is_not_made_before_its_time),
        cmocka_unit_test(what_is_in_the_way_is_told_and_nothing_attached),
        cmocka_unit_test(a_broken_link_is_told),
        cmocka_unit_test(every_step_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
