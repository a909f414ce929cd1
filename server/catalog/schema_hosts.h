/* SPDX-License-Identifier: Apache-2.0 */
/* schema_hosts - the tables of hosts, their boot tokens and their domains, as first laid down.
 *
 * A published schema never changes: a new version adds a step to the list in catalog.c.
 *   host        session is the SHA-256 of the agent's session; session_used: the agent has shown
 *               that it got it.  seen_at and applied_revision lag behind by up to a minute
 *   host_mac    position 0 is the card that the host was last booted from
 *   boot_token  the one-time tokens of kernel command lines, as SHA-256, one for each MAC.  Its age
 *               is measured by the clock of one boot of the server's machine, not by the date
 *   domain      definition grows when what it is made of changes; desired_revision is the host's
 *               revision at which `running` changed last */
#ifndef GRIDBOX_CATALOG_SCHEMA_HOSTS_H
#define GRIDBOX_CATALOG_SCHEMA_HOSTS_H

#define CATALOG_SCHEMA_HOSTS                                                                       \
    "CREATE TABLE host ("                                                                          \
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"                                                      \
    "  name TEXT NOT NULL UNIQUE,"                                                                 \
    "  state TEXT NOT NULL CHECK (state IN ('waiting', 'approved')),"                              \
    "  uuid TEXT NOT NULL DEFAULT '',"                                                             \
    "  cpu TEXT NOT NULL DEFAULT '',"                                                              \
    "  cpus INTEGER NOT NULL DEFAULT 0,"                                                           \
    "  memory_mib INTEGER NOT NULL DEFAULT 0,"                                                     \
    "  hvm INTEGER NOT NULL DEFAULT 0,"                                                            \
    "  agent_version TEXT NOT NULL DEFAULT '',"                                                    \
    "  address TEXT NOT NULL DEFAULT '',"                                                          \
    "  loader TEXT NOT NULL DEFAULT 'auto' CHECK (loader IN ('auto', 'undionly')),"                \
    "  registered_at INTEGER NOT NULL DEFAULT 0,"                                                  \
    "  seen_at INTEGER NOT NULL DEFAULT 0,"                                                        \
    "  session BLOB UNIQUE CHECK (length(session) = 32),"                                          \
    "  session_used INTEGER NOT NULL DEFAULT 0,"                                                   \
    "  revision INTEGER NOT NULL DEFAULT 1,"                                                       \
    "  applied_revision INTEGER NOT NULL DEFAULT 0) STRICT;"                                       \
    "CREATE INDEX host_uuid ON host(uuid);"                                                        \
    "CREATE TABLE host_mac ("                                                                      \
    "  mac TEXT PRIMARY KEY CHECK (length(mac) = 17),"                                             \
    "  host_id INTEGER NOT NULL REFERENCES host(id) ON DELETE CASCADE,"                            \
    "  position INTEGER NOT NULL) STRICT, WITHOUT ROWID;"                                          \
    "CREATE INDEX host_mac_host ON host_mac(host_id);"                                             \
    "CREATE TABLE boot_token ("                                                                    \
    "  mac TEXT PRIMARY KEY CHECK (length(mac) = 17),"                                             \
    "  token BLOB NOT NULL UNIQUE CHECK (length(token) = 32),"                                     \
    "  address TEXT NOT NULL,"                                                                     \
    "  host_id INTEGER REFERENCES host(id) ON DELETE CASCADE,"                                     \
    "  boot_id TEXT NOT NULL,"                                                                     \
    "  issued_s INTEGER NOT NULL) STRICT, WITHOUT ROWID;"                                          \
    "CREATE INDEX boot_token_host ON boot_token(host_id);"                                         \
    "CREATE TABLE domain ("                                                                        \
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"                                                      \
    "  name TEXT NOT NULL UNIQUE,"                                                                 \
    "  host_id INTEGER NOT NULL REFERENCES host(id),"                                              \
    "  volume_id INTEGER NOT NULL UNIQUE REFERENCES volume(id),"                                   \
    "  memory_mib INTEGER NOT NULL CHECK (memory_mib BETWEEN 32 AND 1048576),"                     \
    "  vcpus INTEGER NOT NULL CHECK (vcpus BETWEEN 1 AND 128),"                                    \
    "  mac TEXT NOT NULL UNIQUE CHECK (length(mac) = 17),"                                         \
    "  uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),"                                       \
    "  definition INTEGER NOT NULL DEFAULT 1,"                                                     \
    "  running INTEGER NOT NULL DEFAULT 0,"                                                        \
    "  stop_seconds INTEGER NOT NULL DEFAULT 60 CHECK (stop_seconds >= 0),"                        \
    "  desired_revision INTEGER NOT NULL DEFAULT 0,"                                               \
    "  state TEXT NOT NULL DEFAULT 'stopped',"                                                     \
    "  detail TEXT NOT NULL DEFAULT '',"                                                           \
    "  domid INTEGER NOT NULL DEFAULT 0,"                                                          \
    "  created_at INTEGER NOT NULL) STRICT;"                                                       \
    "CREATE INDEX domain_host ON domain(host_id);"

#endif
