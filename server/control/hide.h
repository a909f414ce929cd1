/* SPDX-License-Identifier: Apache-2.0 */
/* hide - takes secrets out of texts about sources before people, logs and events see them. */
#ifndef GRIDBOX_CONTROL_HIDE_H
#define GRIDBOX_CONTROL_HIDE_H

/* In place: user and password of a URL (what stands between "://" and '@'), a URL's query and
 * fragment, and attachments' tokens (a dot and 32 hex digits).  Any text, also without a URL; what
 * it names stays readable. */
void hide_secrets(char *text);

#endif
