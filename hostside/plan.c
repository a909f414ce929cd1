/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the order of steps from what is to what should be, for one domain.
 * Must never know: how a step is done, how often it failed, other domains. */
#include "hostside/plan.h"

#include <stdio.h>
#include <string.h>

#include "server/base/clock.h"

#define LOOK_AGAIN_NS (500 * NS_PER_MS) /* for what ends without telling */

static const char *const step_names[PLAN_STEP_COUNT] = {
    [PLAN_NOTHING] = "nothing",   [PLAN_WAIT] = "wait",     [PLAN_ATTACH] = "attach",
    [PLAN_KEEP] = "keep",         [PLAN_CREATE] = "create", [PLAN_START] = "start",
    [PLAN_SHUTDOWN] = "shutdown", [PLAN_PAUSE] = "pause",   [PLAN_DISCONNECT] = "disconnect",
    [PLAN_DESTROY] = "destroy",
};

const char *plan_step_name(enum plan_step s)
{
    return (unsigned)s < PLAN_STEP_COUNT ? step_names[s] : "unknown";
}

static struct plan make(enum plan_step step, enum contract_state state, const char *detail)
{
    struct plan p = { .step = step, .state = state };

    snprintf(p.detail, sizeof p.detail, "%s", detail);
    return p;
}

static struct plan wait_until(int64_t wake_ns, enum contract_state state, const char *detail)
{
    struct plan p = make(PLAN_WAIT, state, detail);

    p.wake_ns = wake_ns;
    return p;
}

static struct plan on_device(enum plan_step step, unsigned device, enum contract_state state,
                             const char *detail)
{
    struct plan p = make(step, state, detail);

    p.device = device;
    return p;
}

static struct plan lost_link(const struct attach_seen *d, enum plan_step step,
                             enum contract_state state)
{
    struct plan p = { .step = step, .state = state };

    snprintf(p.detail, sizeof p.detail, "disk '%.63s': connection lost, being made again: %.80s",
             d->id.volume, d->why[0] ? d->why : "no answer yet");
    return p;
}

/* ---- devices ---- */

static const struct attach_seen *device_of_volume(const struct plan_input *in, const char *volume,
                                                  unsigned *ret)
{
    for (unsigned i = 0; i < in->device_count; i++)
        if (strcmp(in->devices[i].id.volume, volume) == 0) {
            *ret = i;
            return &in->devices[i];
        }
    return NULL;
}

static const struct attach_seen *device_of_id(const struct plan_input *in, const struct disk_id *id)
{
    for (unsigned i = 0; i < in->device_count; i++)
        if (disk_id_equal(&in->devices[i].id, id))
            return &in->devices[i];
    return NULL;
}

/* A disk of the domain that will never answer again. */
static bool lost_disk(const struct plan_input *in)
{
    for (unsigned i = 0; i < in->have->disk_count; i++) {
        const struct attach_seen *d = device_of_id(in, &in->have->disks[i]);

        if (!d || d->link == ATTACH_STALE || d->link == ATTACH_LEAVING)
            return true;
    }
    return false;
}

static const struct attach_seen *broken_device(const struct plan_input *in)
{
    for (unsigned i = 0; i < in->device_count; i++)
        if (in->devices[i].link == ATTACH_BROKEN)
            return &in->devices[i];
    return NULL;
}

/* A device that an earlier agent left and that the spec still names: take it over. */
static bool keep_found(const struct plan_input *in, enum contract_state state, struct plan *ret)
{
    for (unsigned i = 0; in->want && i < in->want->disk_count; i++) {
        struct disk_id id = disk_id_of(&in->want->disks[i]);
        const struct attach_seen *d = device_of_id(in, &id);

        if (d && d->link == ATTACH_FOUND) {
            *ret = on_device(PLAN_KEEP, (unsigned)(d - in->devices), state, "");
            ret->disk = i;
            return true;
        }
    }
    return false;
}

/* ---- a domain that must go ---- */

/* The content that it shows is not the volume's any more: what still goes there is refused, or will
 * be. */
static bool is_of_earlier_epoch(const struct plan_input *in, const struct attach_seen *d)
{
    for (unsigned i = 0; in->want && i < in->want->disk_count; i++)
        if (strcmp(in->want->disks[i].volume, d->id.volume) == 0 &&
            in->want->disks[i].epoch != d->id.epoch)
            return true;
    return false;
}

/* Its guest stops at once; requests that wait for a server that will not answer are ended (destroy
 * would wait for them); then it goes.  Devices with a good link to content that lives on are left
 * for the next step, so that a request under way is finished and not torn. */
static struct plan end_domain(const struct plan_input *in, enum contract_state state,
                              const char *why)
{
    if (in->have->run == DOMAIN_RUNS)
        return make(PLAN_PAUSE, state, why);
    for (unsigned i = 0; i < in->device_count; i++)
        if (in->devices[i].link == ATTACH_STALE || in->devices[i].link == ATTACH_BROKEN ||
            (in->devices[i].link != ATTACH_LEAVING && is_of_earlier_epoch(in, &in->devices[i])))
            return on_device(PLAN_DISCONNECT, i, state, why);
    return make(PLAN_DESTROY, state, why);
}

/* Nothing but requests under way keeps a destroyed domain: those over a good link will end. */
static struct plan wait_for_its_end(const struct plan_input *in)
{
    for (unsigned i = 0; i < in->device_count; i++)
        if (in->devices[i].link != ATTACH_LIVE && in->devices[i].link != ATTACH_LEAVING)
            return on_device(PLAN_DISCONNECT, i, CONTRACT_STOPPING, "");
    return wait_until(in->now_ns + LOOK_AGAIN_NS, CONTRACT_STOPPING,
                      "destroyed, its memory is still in use");
}

/* It was asked to shut down: until its time is up. */
static struct plan wait_for_shutdown(const struct plan_input *in)
{
    int64_t deadline = in->have->stop_asked_ns + (int64_t)in->want->stop_seconds * NS_PER_S;

    if (in->now_ns >= deadline)
        return end_domain(in, CONTRACT_STOPPING, "did not shut down within its time, is destroyed");
    if (!in->have->stop_heard && !in->want->running)
        return make(PLAN_SHUTDOWN, CONTRACT_STOPPING, "");
    return wait_until(deadline, CONTRACT_STOPPING, "");
}

/* ---- a domain that is there */

static const char *end_words(enum domain_end end)
{
    switch (end) {
    case DOMAIN_END_POWEROFF:
        return "its guest powered off, it is started again";
    case DOMAIN_END_REBOOT:
        return "its guest reboots";
    case DOMAIN_END_CRASH:
        return "its guest crashed, it is started again";
    case DOMAIN_END_OTHER:
        break;
    }
    return "its guest ended, it is started again";
}

static struct plan keep_running(const struct plan_input *in)
{
    const struct attach_seen *broken = broken_device(in);
    struct plan p;

    if (in->have->run == DOMAIN_ENDED)
        return make(PLAN_DESTROY, CONTRACT_CREATING, end_words(in->have->end));
    if (keep_found(in, CONTRACT_RUNNING, &p))
        return p;
    if (in->have->stop_asked_ns)
        return wait_for_shutdown(in);
    if (in->want->paused)
        return make(in->have->run == DOMAIN_PAUSED ? PLAN_NOTHING : PLAN_PAUSE, CONTRACT_RUNNING,
                    "paused: its disk waits for room on the server");
    if (in->have->run == DOMAIN_PAUSED)
        return broken ? lost_link(broken, PLAN_WAIT, CONTRACT_CREATING)
                      : make(PLAN_START, CONTRACT_CREATING, "");
    return broken ? lost_link(broken, PLAN_NOTHING, CONTRACT_RUNNING)
                  : make(PLAN_NOTHING, CONTRACT_RUNNING, "");
}

static struct plan stop_cleanly(const struct plan_input *in)
{
    struct plan p;

    if (in->have->run == DOMAIN_PAUSED && !in->have->stop_asked_ns)
        return make(PLAN_START, CONTRACT_STOPPING, "goes on, so that it can be shut down");
    if (in->have->run != DOMAIN_RUNS)
        return end_domain(in, CONTRACT_STOPPING, "");
    if (keep_found(in, CONTRACT_STOPPING, &p))
        return p;
    if (!in->have->stop_asked_ns)
        return make(PLAN_SHUTDOWN, CONTRACT_STOPPING, "");
    return wait_for_shutdown(in);
}

static struct plan with_domain(const struct plan_input *in)
{
    enum contract_state going =
        in->want && in->want->running ? CONTRACT_CREATING : CONTRACT_STOPPING;

    if (in->have->run == DOMAIN_DYING)
        return wait_for_its_end(in);
    if (!in->want)
        return end_domain(in, CONTRACT_STOPPING, "");
    if (!in->have->marked || !in->have->made)
        return make(PLAN_DESTROY, going, "was left half made");
    if (in->have->incarnation != in->want->incarnation)
        return end_domain(in, going, "its definition or its disk has changed");
    if (lost_disk(in))
        return end_domain(in, going, "its disk is over");
    return in->want->running ? keep_running(in) : stop_cleanly(in);
}

/* ---- no domain ---- */

static struct plan release_devices(const struct plan_input *in)
{
    for (unsigned i = 0; i < in->device_count; i++)
        if (in->devices[i].link != ATTACH_LEAVING)
            return on_device(PLAN_DISCONNECT, i, CONTRACT_STOPPING, "");
    if (in->device_count > 0)
        return wait_until(in->now_ns + LOOK_AGAIN_NS, CONTRACT_STOPPING,
                          "its disk is still held open");
    return make(PLAN_NOTHING, CONTRACT_STOPPED, "");
}

/* Makes one disk usable; false when it is. */
static bool prepare_disk(const struct plan_input *in, unsigned disk, struct plan *ret)
{
    struct disk_id id = disk_id_of(&in->want->disks[disk]);
    unsigned at = 0;
    const struct attach_seen *d = device_of_volume(in, id.volume, &at);

    if (!d)
        *ret = make(PLAN_ATTACH, CONTRACT_ATTACHING, "");
    else if (d->link == ATTACH_LEAVING)
        *ret = wait_until(in->now_ns + LOOK_AGAIN_NS, CONTRACT_ATTACHING,
                          "its disk's earlier device is still held open");
    else if (!disk_id_equal(&d->id, &id) || d->link == ATTACH_STALE)
        *ret = on_device(PLAN_DISCONNECT, at, CONTRACT_ATTACHING, "");
    else if (d->link == ATTACH_FOUND)
        *ret = on_device(PLAN_KEEP, at, CONTRACT_ATTACHING, "");
    else if (d->link == ATTACH_BROKEN)
        *ret = lost_link(d, PLAN_WAIT, CONTRACT_ATTACHING);
    else
        return false;
    ret->disk = disk;
    return true;
}

static struct plan bring_up(const struct plan_input *in)
{
    struct plan p;

    if (in->in_the_way)
        return wait_until(in->now_ns + LOOK_AGAIN_NS, CONTRACT_FAILED, in->in_the_way);
    for (unsigned i = 0; i < in->want->disk_count; i++)
        if (prepare_disk(in, i, &p))
            return p;
    if (in->now_ns < in->create_after_ns)
        return wait_until(in->create_after_ns, CONTRACT_CREATING,
                          "its guest keeps ending soon after its start, waits before the next");
    return make(PLAN_CREATE, CONTRACT_CREATING, "");
}

struct plan plan_next(const struct plan_input *in)
{
    if (in->have)
        return with_domain(in);
    if (in->want && in->want->running)
        return bring_up(in);
    return release_devices(in);
}
