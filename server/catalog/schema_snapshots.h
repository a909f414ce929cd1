/* SPDX-License-Identifier: Apache-2.0 */
/* schema_snapshots - schema version 2: snapshots, promoted images, quotas.
 *
 * A published schema never changes: a new version adds a step to the list in catalog.c.
 *   image            made anew: several may have one layer, and the hash may still be missing
 *   snapshot_volume  what a snapshot holds of a volume: the layer that it showed
 *   volume.quota_bytes  0: none
 *   unborn_layer     layers that are being written, and will be in `layer` or in `dead_layer`
 * The rows of image are moved with foreign keys off (catalog.c), so that what refers to them
 * stays. */
#ifndef GRIDBOX_CATALOG_SCHEMA_SNAPSHOTS_H
#define GRIDBOX_CATALOG_SCHEMA_SNAPSHOTS_H

#define CATALOG_SCHEMA_SNAPSHOTS                                                                   \
    "CREATE TABLE image_2 ("                                                                       \
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"                                                      \
    "  name TEXT NOT NULL REFERENCES image_name(name),"                                            \
    "  version INTEGER NOT NULL,"                                                                  \
    "  layer BLOB NOT NULL REFERENCES layer(id),"                                                  \
    "  size_bytes INTEGER NOT NULL CHECK (size_bytes > 0),"                                        \
    "  data_bytes INTEGER NOT NULL CHECK (data_bytes >= 0),"                                       \
    "  sha256 TEXT CHECK (length(sha256) = 64),"                                                   \
    "  state TEXT NOT NULL CHECK (state IN ('verified', 'unverified', 'damaged')),"                \
    "  source TEXT NOT NULL,"                                                                      \
    "  format TEXT NOT NULL,"                                                                      \
    "  created_at INTEGER NOT NULL,"                                                               \
    "  CHECK (state <> 'verified' OR sha256 IS NOT NULL),"                                         \
    "  UNIQUE (name, version)) STRICT;"                                                            \
    "INSERT INTO image_2 SELECT id, name, version, layer, size_bytes, data_bytes, sha256,"         \
    "  'verified', source, format, created_at FROM image;"                                         \
    "DELETE FROM sqlite_sequence WHERE name = 'image_2';"                                          \
    "INSERT INTO sqlite_sequence SELECT 'image_2', seq FROM sqlite_sequence"                       \
    "  WHERE name = 'image';"                                                                      \
    "DROP TABLE image;"                                                                            \
    "ALTER TABLE image_2 RENAME TO image;"                                                         \
    "CREATE INDEX image_layer ON image(layer);"                                                    \
    "ALTER TABLE volume ADD COLUMN quota_bytes INTEGER NOT NULL DEFAULT 0"                         \
    "  CHECK (quota_bytes >= 0);"                                                                  \
    "CREATE TABLE snapshot ("                                                                      \
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"                                                      \
    "  name TEXT NOT NULL UNIQUE,"                                                                 \
    "  created_at INTEGER NOT NULL) STRICT;"                                                       \
    "CREATE TABLE snapshot_volume ("                                                               \
    "  snapshot_id INTEGER NOT NULL REFERENCES snapshot(id),"                                      \
    "  volume_id INTEGER NOT NULL REFERENCES volume(id),"                                          \
    "  layer BLOB NOT NULL REFERENCES layer(id),"                                                  \
    "  size_bytes INTEGER NOT NULL CHECK (size_bytes > 0),"                                        \
    "  PRIMARY KEY (snapshot_id, volume_id)) STRICT, WITHOUT ROWID;"                               \
    "CREATE INDEX snapshot_volume_volume ON snapshot_volume(volume_id);"                           \
    "CREATE INDEX snapshot_volume_layer ON snapshot_volume(layer);"                                \
    "CREATE TABLE unborn_layer ("                                                                  \
    "  id BLOB PRIMARY KEY CHECK (length(id) = 16)) STRICT, WITHOUT ROWID;"

#endif
