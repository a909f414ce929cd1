/* SPDX-License-Identifier: Apache-2.0 */
/* Crashes: a server's storage works for clients and an operator; then, for every file operation of
 * that work, the power goes just before it (any of what was not synced is lost, torn at 512 bytes),
 * or the process dies; and the server starts again.  What it shows is compared with the model.  The
 * work goes on from one of these crashes, so that the next ones also hit a server that recovers.
 *
 *   CUTS=N       distinct states of the disk after a crash (1,000)
 *   SEED=N       the first round (1); each has its own seed
 *   ROUNDS=N     at most so many
 *   POWER=1      crashes of power alone
 *   ONLY=PHASE:CUT:WORLD:KIND   that crash of the first round alone, as a failure names it */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "tests/crash/fake_time.h"
#include "tests/crash/sim_vfs.h"
#include "tests/crash/verify.h"
#include "tests/crash/work.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/unit.h"

#define PHASES       3
#define WORLDS       1  /* of power, of each cut */
#define ROUNDS_LEAST 10 /* that the crashes are spread over */
#define KEPT_BUCKETS (1u << 20)

struct only {
    bool set;
    unsigned phase, world, kind;
    unsigned long long cut;
};

struct crash {
    uint64_t cut; /* counted from the first operation of the phase */
    unsigned world;
    enum sim_crash kind;
};

struct run {
    struct lab lab;
    struct work work;
    struct model *model; /* of this phase: */
    struct model *models[PHASES];
    uint64_t seed;
    unsigned phase;
    struct sim_past *past;
    struct lab_memory *memory;
    uint64_t up;         /* the server was up from this operation on */
    uint64_t catalog_up; /* and had opened the catalog by this one */
    uint64_t *distinct;  /* hashes of what was seen */
    unsigned distinct_count, cuts, kills, again, wanted, verbs[WORK_VERBS];
    unsigned commits_failed;
    unsigned with_kills; /* 1, or 0: power alone */
    struct crash last;   /* the one that the phase began with */
    unsigned last_at;
    struct only only;
};

/* ---- counting ---------------------------------------------------------------------------------*/

static bool is_new(struct run *r, uint64_t hash)
{
    hash |= 1;
    for (size_t at = hash % KEPT_BUCKETS;; at = (at + 1) % KEPT_BUCKETS) {
        if (r->distinct[at] == hash)
            return false;
        if (r->distinct[at] == 0) {
            r->distinct[at] = hash;
            return true;
        }
    }
}

/* ---- one crash --------------------------------------------------------------------------------*/

static void fail_crash(const struct run *r, const struct crash *c, const char *why)
{
    uint64_t number = sim_past_first(r->past) + c->cut;

    if (getenv("SHOW"))
        sim_past_show(r->past, number > 40 ? number - 40 : 0, number + 3);
    fail_msg("%s\n# phase %u, operation %llu, %s\n"
             "# again: SEED=%llu ONLY=%u:%llu:%u:%u build/crash/cuts_test",
             why, r->phase, (unsigned long long)c->cut, c->kind == SIM_KILL ? "killed" : "power",
             (unsigned long long)r->seed, r->phase, (unsigned long long)c->cut, c->world,
             (unsigned)c->kind);
}

/* Puts the disk where that crash leaves it and starts the server.  False: seen before. */
static bool crash_and_start(struct run *r, const struct crash *c, bool only_new)
{
    uint64_t number = sim_past_first(r->past) + c->cut;
    uint64_t hash = sim_go_back(r->lab.sim, r->past, number, c->kind,
                                r->seed * 1000003 + c->cut * 64 + c->world);
    struct err e = { 0 };

    lab_memory_put(&r->lab, r->memory, number, c->kind == SIM_KILL);
    if (!is_new(r, hash * 2 + (c->kind == SIM_KILL)) && only_new)
        return false;
    fake_reset(r->seed * 7919 + c->cut);
    /* Every life of the server draws ids of its own: none comes twice. */
    fake_time_reset(((r->seed * 31 + r->phase) * 1000003 + c->cut) * 8 + c->world);
    sim_reseed(r->lab.sim, c->cut + 1);
    if (lab_start(&r->lab, &e) < 0)
        fail_crash(r, c, e.msg);
    return true;
}

/* The server that came up again after a crash crashes as well, somewhere between its start and its
 * end. */
static void crash_again(struct run *r, const struct crash *c, struct verify *v,
                        const struct verify_touch *touch, uint64_t settled)
{
    struct sim_past *past = sim_past_take(r->lab.sim);
    struct lab_memory *memory = lab_memory_take(&r->lab);
    uint64_t chance = (c->cut + 1) * 0x9E3779B97F4A7C15ull >> 11;
    uint64_t number =
        sim_past_first(past) + chance % (sim_past_end(past) - sim_past_first(past) + 1);
    enum sim_crash kind = chance >> 20 & 1 && r->with_kills ? SIM_KILL : SIM_POWER;
    struct err e = { 0 };

    is_new(r, sim_go_back(r->lab.sim, past, number, kind, chance));
    lab_memory_put(&r->lab, memory, number, kind == SIM_KILL);
    fake_reset(chance);
    if (lab_start(&r->lab, &e) < 0)
        fail_crash(r, c, e.msg);
    v->crashes = 1;
    v->touch = touch;
    v->number = number;
    v->settled = number >= settled;
    if (kind == SIM_POWER)
        v->crash = MODEL_POWER;
    if (!verify_all(v)) {
        if (getenv("SHOW"))
            sim_past_show(past, sim_past_first(past), number + 1);
        printf("# a second crash at %llu of that server, %s\n",
               (unsigned long long)(number - sim_past_first(past)),
               kind == SIM_KILL ? "killed" : "power");
        fail_crash(r, c, v->why);
    }
    lab_stop(&r->lab);
    sim_past_free(past);
    lab_memory_free(memory);
    r->distinct_count++;
    r->again++;
    r->kills += kind == SIM_KILL;
}

/* Time passes, and nobody asks for anything.  The number of operations by then. */
static uint64_t settle(struct run *r)
{
    for (int i = 0; i < 4; i++) {
        fake_run();
        fake_time_advance(11 * NS_PER_S);
        fake_fire_timers();
    }
    fake_run();
    return sim_count(r->lab.sim);
}

static void look_at(struct run *r, const struct crash *c)
{
    uint64_t number = sim_past_first(r->past) + c->cut;
    /* A process that dies just before a sync leaves what the next one must not rely on. */
    uint64_t settled = UINT64_MAX;
    bool again = c->cut % 3 == 0 || (c->kind == SIM_KILL && sim_past_syncs(r->past, number));
    struct verify_touch touch;
    struct verify v = { .lab = &r->lab,
                        .model = r->model,
                        .at = model_moment(r->model, number),
                        .crash = c->kind == SIM_KILL ? MODEL_KILL : MODEL_POWER,
                        .images = c->cut % 4 == 2,
                        .recovering = number < r->up };

    if (again)
        lab_memory_watch(&r->lab);
    if (!crash_and_start(r, c, !r->only.set)) {
        lab_memory_forget(&r->lab);
        return;
    }
    bool idle = again && c->kind == SIM_KILL && c->cut % 4 == 1;
    if (idle) /* nobody comes back */
        settled = settle(r);
    else if (!verify_all(&v))
        fail_crash(r, c, v.why);
    else if (again)
        verify_touch_all(&r->lab, r->model, &touch);
    lab_stop(&r->lab);
    r->distinct_count++;
    r->kills += c->kind == SIM_KILL;
    if (again)
        crash_again(r, c, &v, idle ? NULL : &touch, settled);
}

/* The operation from which on the phase is looked at.  What a killed process left of a COMMIT is
 * not on the disk for sure before the next one has opened the catalog; what had been held for one
 * that failed, before it is up: until then the catalog may still go back, and the model began with
 * what it showed. */
static uint64_t first_cut(const struct run *r)
{
    const struct model *before = r->model->before;

    if (r->phase == 0 ||
        (before && before->unsure_begin && before->unsure_begin <= r->model->before_at))
        return r->up;
    return before ? r->catalog_up : sim_past_first(r->past);
}

static void all_crashes(struct run *r)
{
    uint64_t end = sim_past_end(r->past) - sim_past_first(r->past);
    uint64_t from = first_cut(r) - sim_past_first(r->past);
    uint64_t share = r->wanted / (ROUNDS_LEAST * PHASES) + 1;
    uint64_t step = (end - from) * (WORLDS + r->with_kills) / share;

    /* Every operation, or every few when only a short run is wanted. */
    step = step ? step : 1;
    for (uint64_t cut = from + r->seed % step; cut <= end && r->distinct_count < r->wanted;
         cut += step)
        for (unsigned world = 0; world < WORLDS + r->with_kills; world++) {
            struct crash c = { .cut = cut,
                               .world = world,
                               .kind = world == WORLDS ? SIM_KILL : SIM_POWER };
            look_at(r, &c);
            r->cuts++;
        }
}

/* ---- rounds -----------------------------------------------------------------------------------*/

static void work_through(struct run *r)
{
    struct work *w = &r->work;

    *w = (struct work){ .lab = &r->lab,
                        .model = r->model,
                        .seed = r->seed * 1000 + r->phase,
                        .stamp = (r->phase + 1) << 24,
                        .snapshots = r->phase * 100,
                        .clones = r->phase * 100,
                        .killed = r->last.kind == SIM_KILL };
    if (r->phase == 0)
        work_set_up(w, 2 + (unsigned)work_draw(w, 7));
    else
        work_adopt(w);
    r->up = sim_count(r->lab.sim);
    r->catalog_up = r->lab.catalog_up;
    sim_vfs_meanwhile(work_meanwhile, w);
    work_run(w, 3 + (unsigned)work_draw(w, 4), 20 + (unsigned)work_draw(w, 60));
    sim_vfs_meanwhile(NULL, NULL);
    work_audit(w);
    work_stop(w);
    for (int i = 0; i < WORK_VERBS; i++)
        r->verbs[i] += w->verbs[i];
    r->commits_failed += w->has_failed;
}

/* The work of one phase, then all its crashes; then the server is up again after one of them. */
static void one_phase(struct run *r)
{
    struct err e = { 0 };

    r->model = r->models[r->phase];
    *r->model = (struct model){ 0 };
    if (r->phase && r->last.kind == SIM_KILL) {
        r->model->before = r->models[r->phase - 1];
        r->model->before_at = r->last_at;
    }
    if (r->phase == 0) {
        lab_memory_watch(&r->lab);
        fake_reset(r->seed * 31 + 7);
        fake_time_reset(r->seed);
        if (lab_start(&r->lab, &e) < 0)
            fail_msg("%s", e.msg);
    }
    work_through(r);
    r->memory = lab_memory_take(&r->lab);
    r->past = sim_past_take(r->lab.sim);
    if (r->only.set && r->only.phase == r->phase) {
        struct crash c = { r->only.cut, r->only.world, r->only.kind ? SIM_KILL : SIM_POWER };
        look_at(r, &c);
    } else if (!r->only.set) {
        all_crashes(r);
    }
}

static void next_phase(struct run *r)
{
    uint64_t end = sim_past_end(r->past) - sim_past_first(r->past);
    uint64_t chance = r->seed * 6364136223846793005ull + r->phase * 1442695040888963407ull;
    struct crash c = { .cut = (chance >> 20) % end, .world = 99, .kind = SIM_POWER };

    if ((chance >> 8) % 4 == 0 && r->with_kills)
        c.kind = SIM_KILL;
    struct lab_memory *memory = r->memory;
    struct sim_past *past = r->past;
    if (r->phase == 0 && c.cut < r->up - sim_past_first(past))
        c.cut = r->up - sim_past_first(past);
    r->last = c;
    r->last_at = model_moment(r->model, sim_past_first(past) + c.cut);
    lab_memory_watch(&r->lab);
    crash_and_start(r, &c, false);
    sim_past_free(past);
    lab_memory_free(memory);
}

static void one_round(struct run *r)
{
    r->last = (struct crash){ 0 };
    lab_init(&r->lab, r->seed);
    for (r->phase = 0; r->phase < PHASES; r->phase++) {
        one_phase(r);
        if (r->phase + 1 == PHASES || (r->only.set && r->only.phase == r->phase))
            break;
        next_phase(r);
    }
    sim_past_free(r->past);
    lab_memory_free(r->memory);
    lab_done(&r->lab);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static void what_was_promised_survives_every_crash(void **state)
{
    struct run *r = calloc(1, sizeof *r);
    const char *only = getenv("ONLY");
    uint64_t rounds = number_of("ROUNDS", 1000000), first = number_of("SEED", 1), done = 0;

    (void)state;
    for (int i = 0; i < PHASES; i++)
        r->models[i] = calloc(1, sizeof *r->models[i]);
    r->distinct = calloc(KEPT_BUCKETS, sizeof *r->distinct);
    assert_true(r->models[0] && r->models[1] && r->models[2] && r->distinct);
    r->with_kills = number_of("POWER", 0) == 0;
    r->wanted = (unsigned)number_of("CUTS", 1000);
    if (only) {
        r->only.set = true;
        rounds = 1;
        assert_int_equal(sscanf(only, "%u:%llu:%u:%u", &r->only.phase, &r->only.cut, &r->only.world,
                                &r->only.kind),
                         4);
    }
    for (; done < rounds && r->distinct_count < r->wanted; done++) {
        r->seed = first + done;
        one_round(r);
    }
    print_message(
        "# | %u distinct crashes (%u of a process, the others of power; %u while the server "
        "came up after another one) in %llu rounds from SEED=%llu; %u were tried\n",
        r->distinct_count, r->kills, r->again, (unsigned long long)done, (unsigned long long)first,
        r->cuts);
    print_message("# | done meanwhile:");
    for (unsigned i = 0; i < WORK_VERBS; i++)
        print_message(" %s %u", work_verb_name(i), r->verbs[i]);
    print_message("; COMMITs that failed %u\n", r->commits_failed);
    free(r->distinct);
    for (int i = 0; i < PHASES; i++)
        free(r->models[i]);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_promised_survives_every_crash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
