/* SPDX-License-Identifier: Apache-2.0 */
/* agent_rig - an agent over simulated domains and devices, which outlive it. */
#ifndef GRIDBOX_TESTS_AGENT_RIG_H
#define GRIDBOX_TESTS_AGENT_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "hostside/agent.h"

#define UUID_A "aaaaaaaa-0000-0000-0000-000000000001"
#define UUID_B "bbbbbbbb-0000-0000-0000-000000000002"

struct world {
    char dir[64];
    struct domain_driver *domains;
    struct attach_driver *disks;
    struct agent *agent;
    struct step *queue; /* ordered, not yet done */
    struct contract_domain want[2];
    unsigned want_count;
    bool approved;
    int64_t now_ns;
    unsigned steps; /* done since the start */
    char stages[512];
    char done[512]; /* their names, each with a ";" behind */
};

void give_spec(struct world *w);
void agent_is_born(struct world *w);
/* As after kill -9: what was ordered and not done is gone. */
void agent_dies(struct world *w);
struct contract_domain domain(const char *name, const char *uuid, const char *volume);
void world_begins(struct world *w);
void world_ends(struct world *w);
/* Does the oldest step. */
void do_step(struct world *w);
/* Until nothing is to be done at this moment. */
void settle(struct world *w);
unsigned domains_of(struct world *w, struct domain_seen ret[8]);
unsigned domain_count(struct world *w);
struct domain_seen domain_of(struct world *w, const char *uuid);
unsigned device_count(struct world *w);
struct contract_domain_report report_of(struct world *w, unsigned n);
void expect_running(struct world *w, const char *uuid, uint64_t incarnation);
void expect_nothing_there(struct world *w);

#endif
