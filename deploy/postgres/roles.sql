-- Three roles of the state database, and the database itself. Run it as an administrator of the server, as often as you
-- like; the image of PostgreSQL runs it when it makes its data folder (docker-compose.yml).
--
--   warehouse_sync_owner    owns the tables and changes them: `warehouse-sync migrate` only
--   warehouse_sync_app      reads and writes rows: every other process. It can neither make, change nor drop a table,
--                           and of the audit log it can neither change nor remove a row
--   warehouse_sync_reader   reads, for dashboards; nothing of tables that hold references to secrets or hashes of tokens
--
-- The last two limits are set by every `warehouse-sync migrate` (shared/store/rights.py), so run that afterwards.
--
--   export DATABASE_OWNER_PASSWORD=... DATABASE_APP_PASSWORD=... DATABASE_READER_PASSWORD=...
--   psql --file deploy/postgres/roles.sql postgresql://admin@host/postgres

\set ON_ERROR_STOP on
\getenv owner_password DATABASE_OWNER_PASSWORD
\getenv app_password DATABASE_APP_PASSWORD
\getenv reader_password DATABASE_READER_PASSWORD
\if :{?owner_password} \else \set owner_password '' \endif
\if :{?app_password} \else \set app_password '' \endif
\if :{?reader_password} \else \set reader_password '' \endif
SELECT '' IN (:'owner_password', :'app_password', :'reader_password') AS is_one_missing \gset
\if :is_one_missing
  DO $$ BEGIN RAISE 'set DATABASE_OWNER_PASSWORD, DATABASE_APP_PASSWORD and DATABASE_READER_PASSWORD first'; END $$;
\endif

SELECT format('CREATE ROLE %I', name)
  FROM unnest(ARRAY['warehouse_sync_owner', 'warehouse_sync_app', 'warehouse_sync_reader']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE warehouse_sync_owner WITH LOGIN NOCREATEROLE PASSWORD :'owner_password';
ALTER ROLE warehouse_sync_app WITH LOGIN NOCREATEROLE PASSWORD :'app_password';
ALTER ROLE warehouse_sync_reader WITH LOGIN NOCREATEROLE PASSWORD :'reader_password';
ALTER ROLE warehouse_sync_reader SET default_transaction_read_only = on;

-- Who is no superuser, as with managed servers, may give a database only to a role of which it is a member.
SELECT format('GRANT warehouse_sync_owner TO %I', current_user)
 WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \gexec
SELECT 'CREATE DATABASE warehouse_sync OWNER warehouse_sync_owner ENCODING ''UTF8'' TEMPLATE template0'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'warehouse_sync') \gexec
REVOKE ALL ON DATABASE warehouse_sync FROM PUBLIC;
GRANT CONNECT ON DATABASE warehouse_sync TO warehouse_sync_app, warehouse_sync_reader;

\connect warehouse_sync
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO warehouse_sync_owner;
GRANT USAGE ON SCHEMA public TO warehouse_sync_app, warehouse_sync_reader;

-- Of what `migrate` will make, and of what it has made already.
ALTER DEFAULT PRIVILEGES FOR ROLE warehouse_sync_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO warehouse_sync_app;
ALTER DEFAULT PRIVILEGES FOR ROLE warehouse_sync_owner IN SCHEMA public
  GRANT USAGE, SELECT ON SEQUENCES TO warehouse_sync_app;
ALTER DEFAULT PRIVILEGES FOR ROLE warehouse_sync_owner IN SCHEMA public
  GRANT SELECT ON TABLES TO warehouse_sync_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO warehouse_sync_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO warehouse_sync_app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO warehouse_sync_reader;

-- What the grants above give too much of what stands there already; `migrate` sets the same, and more.
SELECT 'REVOKE UPDATE, DELETE ON public.audit FROM warehouse_sync_app'
 WHERE to_regclass('public.audit') IS NOT NULL \gexec
SELECT format('REVOKE SELECT ON public.%I FROM warehouse_sync_reader', name)
  FROM unnest(ARRAY['clients', 'tokens', 'failed_sign_ins', 'connections', 'feeds', 'probes', 'newer_rows',
                    'rejected_users', 'accepted_keys']) AS name
 WHERE to_regclass('public.' || name) IS NOT NULL \gexec
