/* SPDX-License-Identifier: Apache-2.0 */
/* notify - tells a service manager how we are: sd_notify(3)'s protocol, by hand (one datagram). */
#ifndef GRIDBOX_MAIN_NOTIFY_H
#define GRIDBOX_MAIN_NOTIFY_H

/* Sends `state`, like "READY=1" or "STOPPING=1", to $NOTIFY_SOCKET; does nothing where there is
 * none, and nothing when it cannot be sent: a service manager that went away is no reason to stop.
 */
void notify(const char *state);

#endif
