/* SPDX-License-Identifier: Apache-2.0 */
/* agent - what agent.c and agent_report.c share. */
#ifndef GRIDBOX_CONTROL_AGENT_H
#define GRIDBOX_CONTROL_AGENT_H

struct cat_host;
struct http_request;

/* The host whose session asks.  < 0: it is refused, and answered. */
int agent_host(struct http_request *r, struct cat_host *ret);

/* POST /v1/agent/report */
void agent_on_report(struct http_request *r);

#endif
