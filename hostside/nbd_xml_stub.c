/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the four URI functions of libxml2 that libnbd's archive asks for, as "no such thing".
 * nbd_connect_uri() is never called here, and libxml2 would bring 31 MB of ICU tables into dom0.
 * Must never know: anything. */

struct _xmlURI;
struct _xmlURI *xmlParseURI(const char *text);
void xmlFreeURI(struct _xmlURI *uri);
unsigned char *xmlSaveUri(struct _xmlURI *uri);
char *xmlURIUnescapeString(const char *text, int length, char *target);

struct _xmlURI *xmlParseURI(const char *text)
{
    (void)text;
    return 0;
}

void xmlFreeURI(struct _xmlURI *uri)
{
    (void)uri;
}

unsigned char *xmlSaveUri(struct _xmlURI *uri)
{
    (void)uri;
    return 0;
}

char *xmlURIUnescapeString(const char *text, int length, char *target)
{
    (void)text, (void)length, (void)target;
    return 0;
}
