/* SPDX-License-Identifier: Apache-2.0 */
/* progress - how far a job is, and whether it is to end. */
#ifndef GRIDBOX_CONTROL_PROGRESS_H
#define GRIDBOX_CONTROL_PROGRESS_H

#include <stdatomic.h>
#include <stdint.h>

/* Written by the job's thread, read by any; cancel is written by any. */
struct job_progress {
    _Atomic uint64_t done_bytes, total_bytes; /* total 0 = unknown */
    _Atomic(const char *) phase;              /* static text: "download", "read", "sync" */
    atomic_bool cancel;                       /* looked at often: within a second */
};

#endif
