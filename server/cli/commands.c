/* SPDX-License-Identifier: Apache-2.0 */
/* commands - the table.  It knows how commands are written, not how they work. */
#include "server/cli/commands.h"

/* clang-format off */
static const struct cli_option globals[] = {
    { "server", "ADDRESS", CLI_NOTHING, false, "the server: unix:PATH or http://HOST:PORT" },
    { "json", NULL, CLI_NOTHING, false, "print the server's JSON instead of a table" },
    { "help", NULL, CLI_NOTHING, false, "say how a command is used, and end" },
    { "version", NULL, CLI_NOTHING, false, "print the version, and end" },
    { 0 },
};

static const struct cli_command commands[] = {
    { "image", "import", "NAME SOURCE", 2, 2, CLI_IMAGE, CLI_FILE, { { 0 } },
      "make the next version of image NAME from a file, http(s):// URL or nbd:// URI",
      "image import debian-12 debian-12.qcow2", cmd_image_import },
    { "image", "list", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "list all versions of all images",
      "image list", cmd_image_list },
    { "image", "show", "IMAGE[@VERSION]", 1, 1, CLI_IMAGE, CLI_NOTHING, { { 0 } },
      "say all about one image",
      "image show debian-12@3", cmd_image_show },
    { "image", "attach", "IMAGE[@VERSION]", 1, 1, CLI_IMAGE, CLI_NOTHING, { { 0 } },
      "print an NBD URI that reads the image, for any number of clients",
      "image attach debian-12", cmd_image_attach },
    { "image", "detach", "IMAGE[@VERSION]", 1, 1, CLI_IMAGE, CLI_NOTHING, { { 0 } },
      "end the URI that 'image attach' printed",
      "image detach debian-12", cmd_image_detach },
    { "image", "verify", "IMAGE[@VERSION]...", 1, CLI_MANY, CLI_IMAGE, CLI_IMAGE, { { 0 } },
      "read images from the disk and compare their checksums",
      "image verify debian-12@3", cmd_image_verify },
    { "image", "remove", "IMAGE[@VERSION]...", 1, CLI_MANY, CLI_IMAGE, CLI_IMAGE, { { 0 } },
      "remove images that nothing stands on",
      "image remove debian-12@1", cmd_image_remove },

    { "volume", "create", "NAME", 1, 1, CLI_NOTHING, CLI_NOTHING, {
        { "image", "IMAGE[@VERSION]", CLI_IMAGE, true, "the image that it is a copy of" },
        { "count", "N", CLI_NOTHING, false, "make N of them: the %d in NAME becomes 0 to N-1" } },
      "make a writable volume, copy-on-write on an image",
      "volume create pc-%d --image debian-12 --count 75", cmd_volume_create },
    { "volume", "list", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "list all volumes",
      "volume list --json", cmd_volume_list },
    { "volume", "show", "NAME", 1, 1, CLI_VOLUME, CLI_NOTHING, { { 0 } },
      "say all about one volume",
      "volume show pc-7", cmd_volume_show },
    { "volume", "attach", "[NAME...]", 0, CLI_MANY, CLI_VOLUME, CLI_VOLUME, {
        { "all", NULL, CLI_NOTHING, false, "every volume, in the order of creation" },
        { "force", NULL, CLI_NOTHING, false, "take volumes over from whoever has them" } },
      "print one NBD URI a volume, each for one client at a time",
      "volume attach pc-7", cmd_volume_attach },
    { "volume", "detach", "[NAME...]", 0, CLI_MANY, CLI_VOLUME, CLI_VOLUME, {
        { "all", NULL, CLI_NOTHING, false, "every volume that 'volume attach' attached" } },
      "end the URIs that 'volume attach' printed",
      "volume detach pc-7", cmd_volume_detach },
    { "volume", "snapshot", "SNAPSHOT [VOLUME...]", 1, CLI_MANY, CLI_NOTHING, CLI_VOLUME, {
        { "all", NULL, CLI_NOTHING, false, "every volume" } },
      "keep what volumes hold now, all at one instant, under one name; who uses them goes on",
      "volume snapshot before-exam --all", cmd_volume_snapshot },
    { "volume", "rollback", "SNAPSHOT [VOLUME...]", 1, CLI_MANY, CLI_SNAPSHOT, CLI_VOLUME, {
        { "all", NULL, CLI_NOTHING, false, "every volume that the snapshot holds" } },
      "bring volumes back to what they held at a snapshot; what was written since is gone",
      "volume rollback before-exam pc-7", cmd_volume_rollback },
    { "volume", "reset", "[VOLUME...]", 0, CLI_MANY, CLI_VOLUME, CLI_VOLUME, {
        { "all", NULL, CLI_NOTHING, false, "every volume" } },
      "bring volumes back to the image they were made from; what was written is gone",
      "volume reset --all", cmd_volume_reset },
    { "volume", "clone", "VOLUME[@SNAPSHOT] NEW", 2, 2, CLI_SOURCE, CLI_NOTHING, {
        { "count", "N", CLI_NOTHING, false, "make N of them: the %d in NEW becomes 0 to N-1" } },
      "make a volume with what another one holds now, or held at a snapshot",
      "volume clone pc-7@before-exam copy-%d --count 10", cmd_volume_clone },
    { "volume", "promote", "VOLUME IMAGE", 2, 2, CLI_VOLUME, CLI_IMAGE, { { 0 } },
      "make what a volume holds now the next version of an image, without copying",
      "volume promote master debian-12", cmd_volume_promote },
    { "volume", "resize", "VOLUME BYTES", 2, 2, CLI_VOLUME, CLI_NOTHING, { { 0 } },
      "make a detached volume larger",
      "volume resize pc-7 40G", cmd_volume_resize },
    { "volume", "quota", "VOLUME BYTES|none", 2, 2, CLI_VOLUME, CLI_NOTHING, { { 0 } },
      "say how much a volume may hold of its own; beyond that its writes wait",
      "volume quota pc-7 8G", cmd_volume_quota },
    { "volume", "remove", "NAME...", 1, CLI_MANY, CLI_VOLUME, CLI_VOLUME, {
        { "snapshots", NULL, CLI_NOTHING, false, "also those that snapshots hold: they lose them" } },
      "remove volumes with all that was written to them",
      "volume remove pc-7 pc-8", cmd_volume_remove },

    { "snapshot", "list", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "list all snapshots",
      "snapshot list", cmd_snapshot_list },
    { "snapshot", "show", "SNAPSHOT", 1, 1, CLI_SNAPSHOT, CLI_NOTHING, { { 0 } },
      "list the volumes that a snapshot holds",
      "snapshot show before-exam", cmd_snapshot_show },
    { "snapshot", "remove", "SNAPSHOT...", 1, CLI_MANY, CLI_SNAPSHOT, CLI_SNAPSHOT, { { 0 } },
      "remove snapshots; volumes that stand on them stay as they are",
      "snapshot remove before-exam", cmd_snapshot_remove },

    { "host", "list", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "list the PCs that registered or are expected",
      "host list", cmd_host_list },
    { "host", "approve", "HOST", 1, 1, CLI_HOST, CLI_NOTHING, {
        { "name", "NAME", CLI_NOTHING, false, "give the PC this name" },
        { "loader", "LOADER", CLI_LOADER, false, "what its firmware is to load first: auto or undionly" } },
      "let a waiting PC, or a MAC address that is still to come, take part",
      "host approve pc-525400123456 --name lab-1", cmd_host_approve },
    { "host", "forget", "HOST...", 1, CLI_MANY, CLI_HOST, CLI_HOST, { { 0 } },
      "forget PCs that have no domains",
      "host forget lab-1", cmd_host_forget },

    { "domain", "define", "NAME", 1, 1, CLI_NOTHING, CLI_NOTHING, {
        { "host", "HOST", CLI_HOST, true, "the PC that runs it" },
        { "image", "IMAGE[@VERSION]", CLI_IMAGE, true, "what its volume is a copy of" },
        { "memory", "MIB", CLI_NOTHING, true, "its memory in MiB" },
        { "vcpus", "N", CLI_NOTHING, true, "how many processors it sees" } },
      "define a domain and make its volume of the same name; it starts stopped",
      "domain define web --host lab-1 --image debian-12 --memory 512 --vcpus 1", cmd_domain_define },
    { "domain", "start", "NAME...", 1, CLI_MANY, CLI_DOMAIN, CLI_DOMAIN, {
        { "wait", NULL, CLI_NOTHING, false, "return when they run, instead of when they are told to" } },
      "start domains",
      "domain start web --wait", cmd_domain_start },
    { "domain", "stop", "NAME...", 1, CLI_MANY, CLI_DOMAIN, CLI_DOMAIN, {
        { "seconds", "N", CLI_NOTHING, false, "time for a clean shutdown before it is destroyed (60)" },
        { "wait", NULL, CLI_NOTHING, false, "return when they have stopped" } },
      "shut domains down",
      "domain stop web --seconds 30", cmd_domain_stop },
    { "domain", "list", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "list all domains",
      "domain list", cmd_domain_list },
    { "domain", "remove", "NAME...", 1, CLI_MANY, CLI_DOMAIN, CLI_DOMAIN, {
        { "keep-volume", NULL, CLI_NOTHING, false, "keep their volumes" } },
      "remove stopped domains and their volumes",
      "domain remove web --keep-volume", cmd_domain_remove },

    { "store", "status", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "say what the store holds, how much room it has, and what waits for room",
      "store status", cmd_store_status },
    { "store", "check", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "compare the files of all layers with the catalog",
      "store check", cmd_store_check },
    { "store", "scrub", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "compare them likewise, read all data from the disk and compare its checksums",
      "store scrub", cmd_store_scrub },

    { "", "status", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "say how the server is; exit 0 if it answers and is healthy",
      "status", cmd_status },
    { "", "events", "", 0, 0, CLI_NOTHING, CLI_NOTHING, {
        { "follow", NULL, CLI_NOTHING, false, "wait for more, until Ctrl-C" } },
      "print what happened last, oldest first",
      "events --follow", cmd_events },
    { "", "top", "", 0, 0, CLI_NOTHING, CLI_NOTHING, {
        { "sort", "KEY", CLI_SORT, false,
          "iops (as without it), read, write, latency, dirty, stall, volume or host" },
        { "seconds", "N", CLI_NOTHING, false, "time between two looks (2)" },
        { "once", NULL, CLI_NOTHING, false, "look once, and end" } },
      "show what each volume does just now, until Ctrl-C",
      "top --sort latency", cmd_top },
    { 0 },
};
/* clang-format on */

const struct cli_table *commands_table(void)
{
    static const struct cli_table table = { .commands = commands, .globals = globals };

    return &table;
}
