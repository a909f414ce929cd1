/* SPDX-License-Identifier: Apache-2.0 */
/* err - one failure, told once, in words for a person.
 *
 * Functions return 0 or -errno and, off the per-request path, also fill a struct err; the message
 * grows outwards: "open volume 'lab7': layer 'a41f': not a layer file".
 * Threads: a struct err belongs to its caller. */
#ifndef GRIDBOX_BASE_ERR_H
#define GRIDBOX_BASE_ERR_H

struct err {
    int code;      /* the -errno that the function also returned; 0 = no failure */
    char msg[480]; /* one line, no final stop, never empty when code != 0 */
};

/* Replace *e by one message; e may be NULL.  Returns code. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "TEXT: " before the message that *e holds (or strerror(-code) if it holds none); e may be
 * NULL.  Returns code. */
int err_wrap(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Like err_set, with ": " and the text of errno after the message.  Returns -errno. */
int err_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
