/* SPDX-License-Identifier: Apache-2.0 */
/* verify - is what a lab shows after a crash what it may show? */
#ifndef GRIDBOX_TESTS_CRASH_VERIFY_H
#define GRIDBOX_TESTS_CRASH_VERIFY_H

#include <stdbool.h>

#include "tests/crash/lab.h"
#include "tests/crash/model.h"

struct verify {
    struct lab *lab;
    const struct model *model;
    unsigned at; /* the moment of the crash */
    enum model_crash crash;
    bool recovering; /* the server that crashed had not come up yet */
    char why[512];   /* filled when it is not */
};

/* The lab has been started again.  True: all is well. */
bool verify_all(struct verify *v);

#endif
