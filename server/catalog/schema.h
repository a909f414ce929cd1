/* SPDX-License-Identifier: Apache-2.0 */
/* schema - the tables of images, volumes, attachments and events, as first laid down.
 *
 * A published schema never changes: a new version adds a step to the list in catalog.c.
 *   layer       every layer that an image or a volume needs, and what it stands on
 *   dead_layer  layers that are no longer needed and whose files are still to be removed
 *   image_name  the last version given out, so that none is ever given out twice
 *   retired     generation and epoch of volumes that were removed: a new one of the same name goes
 *               on from there, so that no old attachment ever fits again */
#ifndef GRIDBOX_CATALOG_SCHEMA_H
#define GRIDBOX_CATALOG_SCHEMA_H

#define CATALOG_SCHEMA_CORE                                                                        \
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"         \
    "CREATE TABLE layer ("                                                                         \
    "  id BLOB PRIMARY KEY CHECK (length(id) = 16),"                                               \
    "  below BLOB REFERENCES layer(id),"                                                           \
    "  size_bytes INTEGER NOT NULL CHECK (size_bytes > 0)) STRICT, WITHOUT ROWID;"                 \
    "CREATE INDEX layer_below ON layer(below);"                                                    \
    "CREATE TABLE dead_layer ("                                                                    \
    "  id BLOB PRIMARY KEY CHECK (length(id) = 16)) STRICT, WITHOUT ROWID;"                        \
    "CREATE TABLE image_name ("                                                                    \
    "  name TEXT PRIMARY KEY,"                                                                     \
    "  last_version INTEGER NOT NULL CHECK (last_version BETWEEN 1 AND 2147483647))"               \
    "  STRICT, WITHOUT ROWID;"                                                                     \
    "CREATE TABLE image ("                                                                         \
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"                                                      \
    "  name TEXT NOT NULL REFERENCES image_name(name),"                                            \
    "  version INTEGER NOT NULL,"                                                                  \
    "  layer BLOB NOT NULL UNIQUE REFERENCES layer(id),"                                           \
    "  size_bytes INTEGER NOT NULL CHECK (size_bytes > 0),"                                        \
    "  data_bytes INTEGER NOT NULL CHECK (data_bytes >= 0),"                                       \
    "  sha256 TEXT NOT NULL CHECK (length(sha256) = 64),"                                          \
    "  source TEXT NOT NULL,"                                                                      \
    "  format TEXT NOT NULL,"                                                                      \
    "  created_at INTEGER NOT NULL,"                                                               \
    "  UNIQUE (name, version)) STRICT;"                                                            \
    "CREATE TABLE volume ("                                                                        \
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"                                                      \
    "  name TEXT NOT NULL UNIQUE,"                                                                 \
    "  image_id INTEGER NOT NULL REFERENCES image(id),"                                            \
    "  top BLOB NOT NULL UNIQUE REFERENCES layer(id),"                                             \
    "  size_bytes INTEGER NOT NULL CHECK (size_bytes > 0),"                                        \
    "  generation INTEGER NOT NULL CHECK (generation > 0),"                                        \
    "  epoch INTEGER NOT NULL CHECK (epoch > 0),"                                                  \
    "  state TEXT NOT NULL DEFAULT 'ok' CHECK (state IN ('ok', 'failed')),"                        \
    "  created_at INTEGER NOT NULL) STRICT;"                                                       \
    "CREATE INDEX volume_image ON volume(image_id);"                                               \
    "CREATE TRIGGER volume_forward BEFORE UPDATE OF generation, epoch ON volume"                   \
    "  WHEN new.generation < old.generation OR new.epoch < old.epoch"                              \
    "  BEGIN SELECT RAISE(ABORT, 'generation and epoch of a volume never go back'); END;"          \
    "CREATE TABLE retired ("                                                                       \
    "  name TEXT PRIMARY KEY,"                                                                     \
    "  generation INTEGER NOT NULL,"                                                               \
    "  epoch INTEGER NOT NULL) STRICT, WITHOUT ROWID;"                                             \
    "CREATE TRIGGER volume_retire AFTER DELETE ON volume"                                          \
    "  BEGIN INSERT OR REPLACE INTO retired VALUES (old.name, old.generation, old.epoch); END;"    \
    "CREATE TABLE attachment ("                                                                    \
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"                                                      \
    "  token BLOB NOT NULL UNIQUE CHECK (length(token) = 16),"                                     \
    "  volume_id INTEGER UNIQUE REFERENCES volume(id),"                                            \
    "  image_id INTEGER UNIQUE REFERENCES image(id),"                                              \
    "  host_id INTEGER REFERENCES host(id),"                                                       \
    "  generation INTEGER NOT NULL,"                                                               \
    "  epoch INTEGER NOT NULL,"                                                                    \
    "  since INTEGER NOT NULL,"                                                                    \
    "  CHECK ((volume_id IS NULL) <> (image_id IS NULL))) STRICT;"                                 \
    "CREATE INDEX attachment_host ON attachment(host_id);"                                         \
    "CREATE TABLE event ("                                                                         \
    "  seq INTEGER PRIMARY KEY AUTOINCREMENT,"                                                     \
    "  at INTEGER NOT NULL,"                                                                       \
    "  kind TEXT NOT NULL,"                                                                        \
    "  object TEXT NOT NULL,"                                                                      \
    "  text TEXT NOT NULL) STRICT;"

#endif
