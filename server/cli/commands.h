/* SPDX-License-Identifier: Apache-2.0 */
/* commands - the table of all commands, and what each does (one function a command).
 *
 * Each function has the form of cli_command.run: see args.h. */
#ifndef GRIDBOX_CLI_COMMANDS_H
#define GRIDBOX_CLI_COMMANDS_H

#include "server/cli/args.h"

const struct cli_table *commands_table(void);

/* cmd_image.c */
int cmd_image_import(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_image_list(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_image_show(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_image_attach(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_image_detach(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_image_verify(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_image_remove(struct cli *c, const struct cli_args *a, struct err *e);

/* cmd_volume.c */
int cmd_volume_create(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_volume_list(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_volume_show(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_volume_attach(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_volume_detach(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_volume_resize(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_volume_quota(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_volume_remove(struct cli *c, const struct cli_args *a, struct err *e);

/* cmd_snapshot.c */
int cmd_volume_snapshot(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_volume_rollback(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_volume_reset(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_volume_clone(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_volume_promote(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_snapshot_list(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_snapshot_show(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_snapshot_remove(struct cli *c, const struct cli_args *a, struct err *e);

/* cmd_store.c */
int cmd_store_status(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_store_check(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_store_scrub(struct cli *c, const struct cli_args *a, struct err *e);

/* cmd_host.c */
int cmd_host_list(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_host_approve(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_host_forget(struct cli *c, const struct cli_args *a, struct err *e);

/* cmd_domain.c */
int cmd_domain_define(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_domain_start(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_domain_stop(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_domain_list(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_domain_remove(struct cli *c, const struct cli_args *a, struct err *e);

/* cmd_status.c */
int cmd_status(struct cli *c, const struct cli_args *a, struct err *e);
int cmd_events(struct cli *c, const struct cli_args *a, struct err *e);

/* cmd_top.c */
int cmd_top(struct cli *c, const struct cli_args *a, struct err *e);

#endif
