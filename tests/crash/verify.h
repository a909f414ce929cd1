/* SPDX-License-Identifier: Apache-2.0 */
/* verify - is what a lab shows after a crash what it may show? */
#ifndef GRIDBOX_TESTS_CRASH_VERIFY_H
#define GRIDBOX_TESTS_CRASH_VERIFY_H

#include <stdbool.h>

#include "tests/crash/lab.h"
#include "tests/crash/model.h"

/* What the server that came up was asked for before it crashed as well: in each volume with a
 * client one sector was written, with FUA.  By operations on the disk. */
#define VERIFY_TOUCHED 5u /* the sector */
struct verify_touch {
    bool begun[MODEL_VOLUMES];
    uint64_t begun_at[MODEL_VOLUMES], done_at[MODEL_VOLUMES];
    model_value value;
};

struct verify {
    struct lab *lab;
    const struct model *model;
    unsigned at; /* the moment of the crash */
    enum model_crash crash;
    bool recovering;  /* the server that crashed had not come up yet */
    unsigned crashes; /* that came after it, while the server came up or ended */
    bool images;      /* small images are verified, as `image verify` does */
    bool settled;     /* the server that came up had brought to disk what a killed one had left */
    const struct verify_touch *touch; /* NULL: nothing */
    uint64_t number;                  /* of the operation at which that server crashed */
    char why[512];                    /* filled when it is not */
};

/* The lab has been started again.  True: all is well. */
bool verify_all(struct verify *v);

/* Does that to all volumes whose attachment is good. */
void verify_touch_all(struct lab *l, const struct model *m, struct verify_touch *ret);

#endif
