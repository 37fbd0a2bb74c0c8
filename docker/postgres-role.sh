#!/bin/sh
# Runs before the migrations. At the first start, the service gets a role that owns its database and
# has no other rights; later this script changes nothing. The superuser has no password afterwards: it can
# only log in within the container (docker compose exec postgres psql -U postgres).
set -eu
role=${SERVICE_ROLE:-normlab}
export PGPASSWORD="$POSTGRES_PASSWORD"
if psql --username="$role" --dbname="$role" --command='select 1' >/dev/null 2>&1; then
  exit 0
fi
# Each statement runs only if its result does not exist yet, so an interrupted start can continue.
psql --quiet --set=ON_ERROR_STOP=1 --set=superuser="$POSTGRES_USER" --set=role="$role" \
  --set=password="$POSTGRES_PASSWORD" --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
select format('create role %I login password %L nosuperuser nocreatedb nocreaterole noreplication',
  :'role', :'password') where not exists (select from pg_roles where rolname = :'role') \gexec
select format('create database %I owner %I', :'role', :'role')
  where not exists (select from pg_database where datname = :'role') \gexec
revoke all on database :"role" from public;
alter role :"superuser" password null;
SQL
