/* SPDX-License-Identifier: Apache-2.0 */
/* hotplug - the helper that libxl runs for each disk and network card of a domain, in place of the
 * shell scripts `block` and `vif-bridge` (/etc/xen/scripts). */
#ifndef GRIDBOX_HOSTSIDE_HOTPLUG_H
#define GRIDBOX_HOSTSIDE_HOTPLUG_H

/* argv[1]: add, remove, online or offline; XENBUS_PATH and vif are in the environment.  Returns the
 * exit status; a failure is also written into xenstore, where libxl reads it. */
int hotplug_run(int argc, char **argv);

#endif
