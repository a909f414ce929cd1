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
      "make the next version of image NAME from a file, http(s):// URL or nbd:// URI", cmd_image_import },
    { "image", "list", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "list all versions of all images", cmd_image_list },
    { "image", "show", "IMAGE[@VERSION]", 1, 1, CLI_IMAGE, CLI_NOTHING, { { 0 } },
      "say all about one image", cmd_image_show },
    { "image", "attach", "IMAGE[@VERSION]", 1, 1, CLI_IMAGE, CLI_NOTHING, { { 0 } },
      "print an NBD URI that reads the image, for any number of clients", cmd_image_attach },
    { "image", "detach", "IMAGE[@VERSION]", 1, 1, CLI_IMAGE, CLI_NOTHING, { { 0 } },
      "end the URI that 'image attach' printed", cmd_image_detach },
    { "image", "remove", "IMAGE[@VERSION]...", 1, CLI_MANY, CLI_IMAGE, CLI_IMAGE, { { 0 } },
      "remove images that nothing stands on", cmd_image_remove },

    { "volume", "create", "NAME", 1, 1, CLI_NOTHING, CLI_NOTHING, {
        { "image", "IMAGE[@VERSION]", CLI_IMAGE, true, "the image that it is a copy of" },
        { "count", "N", CLI_NOTHING, false, "make N of them: the %d in NAME becomes 0 to N-1" } },
      "make a writable volume, copy-on-write on an image", cmd_volume_create },
    { "volume", "list", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "list all volumes", cmd_volume_list },
    { "volume", "attach", "[NAME...]", 0, CLI_MANY, CLI_VOLUME, CLI_VOLUME, {
        { "all", NULL, CLI_NOTHING, false, "every volume, in the order of creation" },
        { "force", NULL, CLI_NOTHING, false, "take volumes over from whoever has them" } },
      "print one NBD URI a volume, each for one client at a time", cmd_volume_attach },
    { "volume", "detach", "[NAME...]", 0, CLI_MANY, CLI_VOLUME, CLI_VOLUME, {
        { "all", NULL, CLI_NOTHING, false, "every volume that 'volume attach' attached" } },
      "end the URIs that 'volume attach' printed", cmd_volume_detach },
    { "volume", "remove", "NAME...", 1, CLI_MANY, CLI_VOLUME, CLI_VOLUME, { { 0 } },
      "remove volumes with all that was written to them", cmd_volume_remove },

    { "host", "list", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "list the PCs that registered or are expected", cmd_host_list },
    { "host", "approve", "HOST", 1, 1, CLI_HOST, CLI_NOTHING, {
        { "name", "NAME", CLI_NOTHING, false, "give the PC this name" },
        { "loader", "LOADER", CLI_LOADER, false, "what its firmware is to load first: auto or undionly" } },
      "let a waiting PC, or a MAC address that is still to come, take part", cmd_host_approve },
    { "host", "forget", "HOST...", 1, CLI_MANY, CLI_HOST, CLI_HOST, { { 0 } },
      "forget PCs that have no domains", cmd_host_forget },

    { "domain", "define", "NAME", 1, 1, CLI_NOTHING, CLI_NOTHING, {
        { "host", "HOST", CLI_HOST, true, "the PC that runs it" },
        { "image", "IMAGE[@VERSION]", CLI_IMAGE, true, "what its volume is a copy of" },
        { "memory", "MIB", CLI_NOTHING, true, "its memory in MiB" },
        { "vcpus", "N", CLI_NOTHING, true, "how many processors it sees" } },
      "define a domain and make its volume of the same name; it starts stopped", cmd_domain_define },
    { "domain", "start", "NAME...", 1, CLI_MANY, CLI_DOMAIN, CLI_DOMAIN, {
        { "wait", NULL, CLI_NOTHING, false, "return when they run, instead of when they are told to" } },
      "start domains", cmd_domain_start },
    { "domain", "stop", "NAME...", 1, CLI_MANY, CLI_DOMAIN, CLI_DOMAIN, {
        { "seconds", "N", CLI_NOTHING, false, "time for a clean shutdown before it is destroyed (60)" },
        { "wait", NULL, CLI_NOTHING, false, "return when they have stopped" } },
      "shut domains down", cmd_domain_stop },
    { "domain", "list", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "list all domains", cmd_domain_list },
    { "domain", "remove", "NAME...", 1, CLI_MANY, CLI_DOMAIN, CLI_DOMAIN, {
        { "keep-volume", NULL, CLI_NOTHING, false, "keep their volumes" } },
      "remove stopped domains and their volumes", cmd_domain_remove },

    { "", "status", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } },
      "say how the server is; exit 0 if it answers and is healthy", cmd_status },
    { "", "events", "", 0, 0, CLI_NOTHING, CLI_NOTHING, {
        { "follow", NULL, CLI_NOTHING, false, "wait for more, until Ctrl-C" } },
      "print what happened last, oldest first", cmd_events },
    { 0 },
};
/* clang-format on */

const struct cli_table *commands_table(void)
{
    static const struct cli_table table = { .commands = commands, .globals = globals };

    return &table;
}
