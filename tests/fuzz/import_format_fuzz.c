/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* sources: server/control/import_format.c server/control/import_qcow2.c server/control/import_vmdk.c server/control/import_vdi.c server/control/import_vhdx.c server/control/import_view.c server/base/err.c server/base/crc32c.c */
/* clang-format on */
/* Any bytes as a file to import.  The first byte says at which offset the rest lies, so that tables
 * that formats keep far inside are reached; what is accepted has a size. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/base/be.h"
#include "server/base/crc32c.h"
#include "server/control/import_format.h"
#include "server/control/import_view.h"

#define VHDX_REGIONS (192u << 10)
#define VHDX_TABLE   (64u << 10)

/* A VHDX region table with a right checksum, which no fuzzer finds. */
static void write_vhdx(int fd, const uint8_t *data, size_t size)
{
    static uint8_t table[VHDX_TABLE];
    size_t length = size < sizeof table - 16 ? size : sizeof table - 16;
    struct le32 crc, count = put_le32((uint32_t)(length / 32));

    memset(table, 0, sizeof table);
    memcpy(table, "regi", 4);
    memcpy(table + 8, &count, sizeof count);
    memcpy(table + 16, data, length);
    crc = put_le32(crc32c(0, table, sizeof table));
    memcpy(table + 4, &crc, sizeof crc);
    if (pwrite(fd, "vhdxfile", 8, 0) < 0 || pwrite(fd, table, sizeof table, VHDX_REGIONS) < 0 ||
        pwrite(fd, data, size, VHDX_REGIONS + VHDX_TABLE) < 0 || ftruncate(fd, 1 << 20) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    struct format_disk disk = { 0 };
    struct view view;
    struct err e = { 0 };

    if (fd < 0)
        fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (size < 1 || fd < 0 || ftruncate(fd, 0) < 0)
        return 0;
    if (data[0] & 1)
        write_vhdx(fd, data + 1, size - 1);
    else if (pwrite(fd, data + 1, size - 1, 0) < 0 ||
             ftruncate(fd, (off_t)(data[0] >> 1) << 12 | (off_t)(size - 1)) < 0)
        abort();
    view_init(&view, fd, (uint64_t)lseek(fd, 0, SEEK_END));
    int rc = format_examine(&view, &disk, &e);
    if (rc == 0 && view.size > 0 && (disk.disk_bytes == 0 || disk.disk_bytes > INT64_MAX))
        abort();
    if (rc < 0 && (e.code != rc || !e.msg[0]))
        abort();
    view_done(&view);
    return 0;
}
