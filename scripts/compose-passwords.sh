#!/usr/bin/env bash
# Gives the login roles their passwords; PostgreSQL's image runs it once, after bootstrap.sql.
set -euo pipefail

# psql quotes its own variables, so that any character is safe.
psql --username postgres --dbname daybook --set ON_ERROR_STOP=1 <<'SQL'
\getenv migrator DAYBOOK_MIGRATOR_PASSWORD
\getenv app DAYBOOK_APP_PASSWORD
ALTER ROLE daybook_migrator PASSWORD :'migrator';
ALTER ROLE daybook_app PASSWORD :'app';
SQL
