#!/bin/sh
# Write the access list from BROKER_PASSWORD, as a hash and readable by this user only, and become the server.
# Arguments: the server's own, after its program. The folder of the list is /run/valkey unless ACL_FOLDER names another.
set -eu
here=$(dirname "$0")
folder=${ACL_FOLDER:-/run/valkey}
: "${BROKER_PASSWORD:?set it to a long random text}"
umask 077
hash=$(printf %s "$BROKER_PASSWORD" | sha256sum | cut -d ' ' -f 1)
{
  echo "user default off sanitize-payload resetchannels -@all"
  echo "user warehouse_sync on #$hash sanitize-payload $(cat "$here/rights")"
} > "$folder/users.acl"
unset BROKER_PASSWORD
exec "$@"
