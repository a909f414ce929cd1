/* SPDX-License-Identifier: Apache-2.0 */
/* import_jail - takes from a process what it does not need before it reads something hostile. */
#ifndef GRIDBOX_CONTROL_IMPORT_JAIL_H
#define GRIDBOX_CONTROL_IMPORT_JAIL_H

/* In a new process, just before exec, with the thread that started it as parent (whose end then
 * ends it too): limits of memory, CPU, files; no network; no other files than /usr's to read; user
 * and group nobody if it was root; nothing gained by exec.  Async-signal-safe.
 * 0, or -errno when root could not be given up: the caller must then not exec. */
int jail_enter(int parent_pid);

#endif
