-- case: a table with everything right
-- expect: nothing
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE INDEX orders_at ON orders (at);

-- case: a nullable column
-- expect: nothing
ALTER TABLE orders ADD COLUMN note text;

-- case: a required column with a constant default
-- expect: nothing
ALTER TABLE orders ADD COLUMN state text NOT NULL DEFAULT 'new';

-- case: a column with the current time as default is stable within the statement
-- expect: nothing
ALTER TABLE orders ADD COLUMN seen timestamptz DEFAULT now();

-- case: a required column without default
-- expect: required-column
ALTER TABLE orders ADD COLUMN state text NOT NULL;

-- case: one of two columns is required
-- expect: required-column
ALTER TABLE orders ADD COLUMN note text, ADD COLUMN state text NOT NULL;

-- case: a header does not make a required column safe
-- expect: required-column
-- phase: expand
ALTER TABLE orders ADD COLUMN state text NOT NULL;

-- case: expand and contract in one
-- expect: ban-drop-column, mixed-phases
ALTER TABLE orders ADD COLUMN email text;
ALTER TABLE orders DROP COLUMN mail;

-- case: expand and backfill in one
-- expect: mixed-phases
ALTER TABLE orders ADD COLUMN email text;
UPDATE orders SET email = mail WHERE email IS NULL;

-- case: backfill and contract in one
-- expect: ban-drop-column, mixed-phases
UPDATE orders SET email = mail WHERE email IS NULL;
ALTER TABLE orders DROP COLUMN mail;

-- case: a block that is clear
-- expect: nothing
DO $$ BEGIN ALTER TABLE orders ADD COLUMN note text; END $$;

-- case: a call whose effect nobody can read
-- expect: unclear-phase
CALL rebuild_everything();

-- case: a call with a header
-- expect: nothing
-- phase: backfill
CALL fill_emails();

-- case: a header that hides a contract
-- expect: ban-drop-column, header-hides-contract
-- phase: expand
ALTER TABLE orders DROP COLUMN mail;

-- case: a header that hides one contract among others
-- expect: ban-drop-table, header-hides-contract
-- phase: expand
ALTER TABLE orders ADD COLUMN email text;
DROP TABLE old_orders;

-- case: rows are written under an ALTER's lock
-- expect: backfill-under-lock
-- phase: backfill
ALTER TABLE orders ADD COLUMN email text;
UPDATE orders SET email = mail WHERE email IS NULL;

-- case: a new table is filled at once
-- expect: nothing
CREATE TABLE currencies (code text PRIMARY KEY);
INSERT INTO currencies (code) VALUES ('EUR'), ('USD'), ('CHF'), ('GBP');
UPDATE currencies SET code = lower(code);

-- case: a renamed column
-- expect: renaming-column
ALTER TABLE orders RENAME COLUMN mail TO email;

-- case: a renamed table
-- expect: renaming-table
ALTER TABLE orders RENAME TO purchases;

-- case: a renamed view
-- expect: renaming-object
ALTER VIEW totals RENAME TO sums;

-- case: a renamed schema
-- expect: renaming-object
ALTER SCHEMA shop RENAME TO store;

-- case: a table moves to another schema
-- expect: ban-set-schema
ALTER TABLE orders SET SCHEMA archive;

-- case: a renamed enum value
-- expect: renames-enum-value
ALTER TYPE status RENAME VALUE 'sent' TO 'shipped';

-- case: an enum value at a said place
-- expect: nothing
ALTER TYPE status ADD VALUE 'shipped' AFTER 'paid';

-- case: an enum value somewhere
-- expect: require-enum-value-ordering
ALTER TYPE status ADD VALUE 'shipped';

-- case: an enum value is used in the transaction that adds it
-- expect: enum-value-used-at-once
ALTER TYPE status ADD VALUE 'shipped' AFTER 'paid';
ALTER TABLE orders ALTER COLUMN status SET DEFAULT 'shipped';

-- case: an index blocks writers
-- expect: require-concurrent-index-creation
CREATE INDEX orders_email ON orders (email);

-- case: an index that is built concurrently
-- expect: nothing
-- no-transaction
CREATE INDEX CONCURRENTLY orders_email ON orders (email);

-- case: a concurrent index in a transaction
-- expect: needs-no-transaction
CREATE INDEX CONCURRENTLY orders_email ON orders (email);

-- case: a unique index on rows that are there, in the way that lets writers go on
-- expect: nothing
-- no-transaction
CREATE UNIQUE INDEX CONCURRENTLY orders_email ON orders (email);

-- case: two concurrent indexes in one file
-- expect: several-without-transaction
-- no-transaction
CREATE INDEX CONCURRENTLY orders_email ON orders (email);
CREATE INDEX CONCURRENTLY orders_at ON orders (at);

-- case: an index of four columns
-- expect: wide-index
-- no-transaction
CREATE INDEX CONCURRENTLY orders_all ON orders (a, b, c, d);

-- case: a unique index of four columns has its reason
-- expect: nothing
-- no-transaction
CREATE UNIQUE INDEX CONCURRENTLY orders_all ON orders (a, b, c, d);

-- case: an index of three columns and an expression with commas
-- expect: nothing
-- no-transaction
CREATE INDEX CONCURRENTLY orders_some ON orders (a, coalesce(b, c), d);

-- case: an index on a table of another migration with the same ending
-- expect: require-concurrent-index-creation
CREATE TABLE orders_2 (id bigint PRIMARY KEY);
CREATE INDEX orders_email ON orders (email);

-- case: an index is dropped while everybody waits
-- expect: require-concurrent-index-deletion
DROP INDEX orders_email;

-- case: an index is dropped concurrently
-- expect: nothing
-- no-transaction
DROP INDEX CONCURRENTLY orders_email;

-- case: an index is dropped concurrently in a transaction
-- expect: needs-no-transaction
DROP INDEX CONCURRENTLY orders_email;

-- case: reindex while writers wait
-- expect: require-concurrent-reindex
REINDEX INDEX orders_email;

-- case: reindex concurrently in a transaction
-- expect: needs-no-transaction
REINDEX INDEX CONCURRENTLY orders_email;

-- case: reindex concurrently
-- expect: nothing
-- no-transaction
REINDEX INDEX CONCURRENTLY orders_email;

-- case: a check that reads every row
-- expect: constraint-missing-not-valid
ALTER TABLE orders ADD CONSTRAINT positive CHECK (total >= 0);

-- case: a check that reads none yet
-- expect: nothing
ALTER TABLE orders ADD CONSTRAINT positive CHECK (total >= 0) NOT VALID;

-- case: a check that is validated in a migration of its own
-- expect: nothing
ALTER TABLE orders VALIDATE CONSTRAINT positive;

-- case: a check that is validated in the transaction that adds it
-- expect: constraint-missing-not-valid, mixed-phases
ALTER TABLE orders ADD CONSTRAINT positive CHECK (total >= 0) NOT VALID;
ALTER TABLE orders VALIDATE CONSTRAINT positive;

-- case: a foreign key that checks both tables
-- expect: adding-foreign-key-constraint
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id);

-- case: a foreign key that checks nothing yet
-- expect: nothing
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID;

-- case: a foreign key of a new table
-- expect: nothing
CREATE TABLE payments (id bigint PRIMARY KEY, order_id bigint REFERENCES orders (id));

-- case: a unique constraint
-- expect: disallowed-unique-constraint
ALTER TABLE orders ADD CONSTRAINT orders_number UNIQUE (number);

-- case: a unique constraint from an index that is there
-- expect: nothing
ALTER TABLE orders ADD CONSTRAINT orders_number UNIQUE USING INDEX orders_number;

-- case: a primary key
-- expect: adding-serial-primary-key-field
ALTER TABLE orders ADD PRIMARY KEY (id);

-- case: an exclusion constraint
-- expect: exclusion-constraint
ALTER TABLE bookings ADD CONSTRAINT apart EXCLUDE USING gist (room WITH =, during WITH &&);

-- case: an exclusion constraint of a new table
-- expect: nothing
CREATE TABLE bookings (room bigint, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&));

-- case: a column's type
-- expect: changing-column-type
ALTER TABLE orders ALTER COLUMN id TYPE bigint;

-- case: SET NOT NULL without a check
-- expect: adding-not-nullable-field
ALTER TABLE orders ALTER COLUMN email SET NOT NULL;

-- case: SET NOT NULL after a check that is validated here
-- expect: ban-drop-constraint, mixed-phases
ALTER TABLE orders VALIDATE CONSTRAINT email_there;
ALTER TABLE orders ALTER COLUMN email SET NOT NULL;
ALTER TABLE orders DROP CONSTRAINT email_there;

-- case: the same with a header
-- expect: ban-drop-constraint
-- phase: contract
ALTER TABLE orders VALIDATE CONSTRAINT email_there;
ALTER TABLE orders ALTER COLUMN email SET NOT NULL;
ALTER TABLE orders DROP CONSTRAINT email_there;

-- case: a volatile default
-- expect: adding-field-with-default
ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid();

-- case: random numbers
-- expect: adding-field-with-default
ALTER TABLE orders ADD COLUMN draw double precision DEFAULT random();

-- case: a stored generated column
-- expect: adding-field-with-default
ALTER TABLE orders ADD COLUMN gross numeric GENERATED ALWAYS AS (net * 1.2) STORED;

-- case: a volatile default for rows to come
-- expect: nothing
ALTER TABLE orders ADD COLUMN token uuid;
ALTER TABLE orders ALTER COLUMN token SET DEFAULT gen_random_uuid();

-- case: a serial column on rows that are there
-- expect: prefer-identity, serial-column
ALTER TABLE orders ADD COLUMN seq bigserial;

-- case: an identity column on rows that are there
-- expect: serial-column
ALTER TABLE orders ADD COLUMN seq bigint GENERATED ALWAYS AS IDENTITY;

-- case: json
-- expect: json-column
ALTER TABLE orders ADD COLUMN details json;

-- case: jsonb
-- expect: nothing
ALTER TABLE orders ADD COLUMN details jsonb;

-- case: types that are regretted
-- expect: ban-char-field, prefer-bigint-over-int, prefer-identity, prefer-text-field, prefer-timestamp-tz
CREATE TABLE old (id serial PRIMARY KEY, n int, code char(3), name varchar(20), at timestamp);

-- case: SET UNLOGGED copies the table
-- expect: rewrites-table
ALTER TABLE orders SET UNLOGGED;

-- case: another tablespace
-- expect: rewrites-table
ALTER TABLE orders SET TABLESPACE fast;

-- case: storage parameters copy nothing
-- expect: nothing
ALTER TABLE orders SET (fillfactor = 80);

-- case: a lock by hand
-- expect: lock-table
LOCK TABLE orders IN ACCESS EXCLUSIVE MODE;

-- case: a lock by hand, with nothing said
-- expect: lock-table
LOCK orders;

-- case: a materialized view is refreshed while readers wait
-- expect: refresh-blocks-readers
REFRESH MATERIALIZED VIEW totals;

-- case: a materialized view is refreshed while readers read
-- expect: nothing
REFRESH MATERIALIZED VIEW CONCURRENTLY totals;

-- case: a partition with rows
-- expect: attach-scans-partition
ALTER TABLE measurements ATTACH PARTITION m_2026_11 FOR VALUES FROM ('2026-11-01') TO ('2026-12-01');

-- case: a new partition
-- expect: nothing
CREATE TABLE m_2026_12 PARTITION OF measurements FOR VALUES FROM ('2026-12-01') TO ('2027-01-01');

-- case: a partition is detached while readers wait
-- expect: require-concurrent-partition-detach
ALTER TABLE measurements DETACH PARTITION m_2025_01;

-- case: a partition is detached concurrently in a transaction
-- expect: needs-no-transaction
ALTER TABLE measurements DETACH PARTITION m_2025_01 CONCURRENTLY;

-- case: VACUUM in a transaction
-- expect: needs-no-transaction
VACUUM ANALYZE orders;

-- case: VACUUM FULL
-- expect: rewrites-table
-- no-transaction
VACUUM FULL orders;

-- case: CLUSTER
-- expect: rewrites-table
-- phase: expand
-- no-transaction
CLUSTER orders USING orders_at;

-- case: a column goes
-- expect: ban-drop-column
ALTER TABLE orders DROP COLUMN mail;

-- case: a table goes
-- expect: ban-drop-table
DROP TABLE old_orders;

-- case: a database goes
-- expect: ban-drop-database, needs-no-transaction
DROP DATABASE shop;

-- case: a schema goes
-- expect: ban-drop-schema
DROP SCHEMA archive CASCADE;

-- case: a view goes
-- expect: ban-drop-view
DROP VIEW totals;

-- case: a function goes
-- expect: ban-drop-function
DROP FUNCTION total(bigint);

-- case: a type goes
-- expect: ban-drop-type
DROP TYPE status;

-- case: a sequence goes
-- expect: ban-drop-sequence
DROP SEQUENCE numbers;

-- case: a domain goes
-- expect: ban-drop-domain
DROP DOMAIN email;

-- case: an extension goes
-- expect: ban-drop-extension
DROP EXTENSION hstore;

-- case: a constraint goes
-- expect: ban-drop-constraint
ALTER TABLE orders DROP CONSTRAINT positive;

-- case: a default goes
-- expect: ban-drop-default
ALTER TABLE orders ALTER COLUMN state DROP DEFAULT;

-- case: NOT NULL goes
-- expect: ban-drop-not-null
ALTER TABLE orders ALTER COLUMN state DROP NOT NULL;

-- case: a generated column becomes a plain one
-- expect: ban-drop-generated-expression
ALTER TABLE orders ALTER COLUMN gross DROP EXPRESSION;

-- case: a column becomes an identity
-- expect: ban-alter-identity
ALTER TABLE orders ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;

-- case: a domain with a constraint
-- expect: ban-create-domain-with-constraint
CREATE DOMAIN email AS text CHECK (value LIKE '%@%');

-- case: a constraint on a domain that is used
-- expect: ban-alter-domain-with-add-constraint
ALTER DOMAIN email ADD CONSTRAINT at CHECK (value LIKE '%@%');

-- case: a name that is cut off
-- expect: identifier-too-long
CREATE TABLE a_name_that_is_much_too_long_for_postgresql_which_cuts_it_off_at_sixty_three_bytes (id bigint PRIMARY KEY);

-- case: every row is deleted
-- expect: deletes-all-rows
DELETE FROM orders;

-- case: some rows are deleted
-- expect: nothing
DELETE FROM sessions WHERE expires_at < now();

-- case: a table is emptied
-- expect: deletes-all-rows
TRUNCATE orders;

-- case: all that refers to a table is emptied too
-- expect: ban-truncate-cascade, deletes-all-rows
TRUNCATE orders CASCADE;

-- case: every row is written
-- expect: updates-all-rows
UPDATE orders SET state = 'new';

-- case: the rows that are left are written
-- expect: nothing
UPDATE orders SET state = 'new' WHERE state IS NULL AND id BETWEEN 1 AND 1000;

-- case: a column is assigned twice
-- expect: ban-duplicate-column-assignments
UPDATE orders SET state = 'a', state = 'b' WHERE id = 1;

-- case: a transaction of the file's own around everything
-- expect: nothing
BEGIN;
ALTER TABLE orders ADD COLUMN note text;
COMMIT;

-- case: a COMMIT in the middle
-- expect: transaction-nesting
ALTER TABLE orders ADD COLUMN note text;
COMMIT;
ALTER TABLE orders ADD COLUMN memo text;

-- case: a BEGIN that is never committed
-- expect: ban-uncommitted-transaction, transaction-nesting
BEGIN;
ALTER TABLE orders ADD COLUMN note text;

-- case: a role with a password
-- expect: password-in-migration
CREATE ROLE reports LOGIN PASSWORD 'correct-horse';

-- case: a role without one
-- expect: nothing
CREATE ROLE reports LOGIN;
GRANT SELECT ON orders TO reports;

-- case: a subscription with a password
-- expect: needs-no-transaction, password-in-migration
CREATE SUBSCRIPTION s CONNECTION 'host=db user=a password=correct-horse' PUBLICATION p;

-- case: a URL with a password in a comment
-- expect: secret-in-migration
-- try it with psql postgres://shop:correct-horse@db.internal/shop
ALTER TABLE orders ADD COLUMN note text;

-- case: a URL without a password
-- expect: nothing
-- see https://example.org/runbook and postgres://shop@db.internal/shop
ALTER TABLE orders ADD COLUMN note text;

-- case: customers copied from production
-- expect: copied-data
INSERT INTO customers (id, full_name, email) VALUES (1, 'A', 'a'), (2, 'B', 'b'), (3, 'C', 'c');

-- case: addresses copied from production
-- expect: copied-data
INSERT INTO customers VALUES (1, 'ann@firm.de'), (2, 'bob@firm.de'), (3, 'cleo@firm.de');

-- case: reference data
-- expect: nothing
INSERT INTO countries (code, name) VALUES ('DE', 'Germany'), ('FR', 'France'), ('IT', 'Italy');

-- case: a variable of psql
-- expect: placeholder-in-sql
INSERT INTO settings (name, value) VALUES ('region', :'region');

-- case: a template
-- expect: placeholder-in-sql
CREATE TABLE {{ schema }}.orders (id bigint PRIMARY KEY);

-- case: a parameter
-- expect: placeholder-in-sql
INSERT INTO settings (name, value) VALUES ('region', $1);

-- case: casts, slices and JSON operators look like variables and are none
-- expect: nothing
CREATE VIEW parts AS SELECT id::text, tags[1:2], data ? 'key' AS there FROM orders;

-- case: text that is run as SQL
-- expect: sql-from-text
-- phase: expand
DO $$ DECLARE t text; BEGIN FOR t IN SELECT name FROM tables LOOP EXECUTE 'ALTER TABLE ' || t || ' ADD COLUMN note text'; END LOOP; END $$;

-- case: text that is quoted before it is run
-- expect: nothing
-- phase: expand
DO $$ DECLARE t text; BEGIN FOR t IN SELECT name FROM tables LOOP EXECUTE format('ALTER TABLE %I ADD COLUMN note text', t); END LOOP; END $$;

-- case: what squawk can't read
-- expect: unclear-phase, unreadable-sql
FROBNICATE orders;

-- case: an allowed finding
-- expect: nothing
-- cutover: allow renaming-column: added an hour ago, nothing reads it yet
ALTER TABLE orders RENAME COLUMN nmae TO name;

-- case: an allowed finding without a reason
-- expect: allow-without-reason, renaming-column
-- cutover: allow renaming-column
ALTER TABLE orders RENAME COLUMN nmae TO name;

-- case: an allow that allows nothing
-- expect: allow-unused
-- cutover: allow renaming-column: it was renamed once
ALTER TABLE orders ADD COLUMN note text;

-- case: an allow of a rule that does not exist
-- expect: allow-without-reason
-- cutover: allow everything: trust me
ALTER TABLE orders ADD COLUMN note text;

-- case: squawk's own way to ignore
-- expect: allow-without-reason, ban-drop-column
-- squawk-ignore ban-drop-column
ALTER TABLE orders DROP COLUMN mail;

-- case: a function's body is not the migration
-- expect: nothing
CREATE FUNCTION clean() RETURNS void LANGUAGE sql AS $$ DELETE FROM orders; UPDATE users SET seen = now(); $$;

-- case: a comment is not the migration
-- expect: nothing
-- DROP TABLE orders;
/* ALTER TABLE orders RENAME COLUMN a TO b; */
ALTER TABLE orders ADD COLUMN note text;

-- case: a table is made, filled from another and indexed
-- expect: mixed-phases
CREATE TABLE tags (name text NOT NULL);
INSERT INTO tags (name) SELECT DISTINCT tag FROM orders;
CREATE UNIQUE INDEX tags_name ON tags (name);
ALTER TABLE tags ALTER COLUMN name SET NOT NULL;
ALTER TABLE tags ADD CONSTRAINT short CHECK (length(name) < 80);

-- case: a user's own function as default may be volatile, and squawk says so
-- expect: adding-field-with-default
ALTER TABLE orders ADD COLUMN code text DEFAULT make_code();

-- case: a view goes with what depends on it
-- expect: ban-drop-view
DROP VIEW totals CASCADE;

-- case: old code writes by position, which nobody can see here
-- expect: nothing
ALTER TABLE orders ADD COLUMN first text;

-- case: a trigger that calls a slow function is not seen
-- expect: nothing
CREATE TRIGGER audit AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION audit();

-- case: an UPDATE whose WHERE is always true is as bad as none
-- expect: updates-all-rows
UPDATE orders SET state = 'new' WHERE true;

-- case: a DELETE that joins and takes everything
-- expect: deletes-all-rows
DELETE FROM orders USING users WHERE true;

-- case: a password in a setting
-- expect: password-in-migration
ALTER DATABASE shop SET app.api_password TO 'correct-horse';
