-- case: a table with everything right
-- expect: nothing
CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL, at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE UNIQUE INDEX orders_item ON orders (item);

-- case: a nullable column
-- expect: nothing
ALTER TABLE orders ADD COLUMN note TEXT;

-- case: a required column with a constant default
-- expect: nothing
ALTER TABLE orders ADD COLUMN state TEXT NOT NULL DEFAULT 'new';

-- case: a required column without default
-- expect: required-column
ALTER TABLE orders ADD COLUMN state TEXT NOT NULL;

-- case: a rebuild with foreign keys on
-- expect: sqlite-rebuild-cascades, sqlite-table-rebuild
CREATE TABLE new_orders (id INTEGER PRIMARY KEY, item TEXT);
INSERT INTO new_orders SELECT id, item FROM orders;
DROP TABLE orders;
ALTER TABLE new_orders RENAME TO orders;

-- case: a rebuild with foreign keys off
-- expect: sqlite-table-rebuild
PRAGMA foreign_keys = OFF;
CREATE TABLE new_orders (id INTEGER PRIMARY KEY, item TEXT);
INSERT INTO new_orders SELECT id, item FROM orders;
DROP TABLE orders;
ALTER TABLE new_orders RENAME TO orders;
PRAGMA foreign_keys = ON;

-- case: the rebuild that drizzle writes
-- expect: sqlite-table-rebuild
PRAGMA foreign_keys=OFF;
CREATE TABLE `__new_users` (`id` integer PRIMARY KEY, `email` text NOT NULL);
INSERT INTO `__new_users`("id", "email") SELECT "id", "email" FROM `users`;
DROP TABLE `users`;
ALTER TABLE `__new_users` RENAME TO `users`;
PRAGMA foreign_keys=ON;

-- case: a new table is not a rebuild
-- expect: mixed-phases
CREATE TABLE tags (name TEXT);
INSERT INTO tags SELECT DISTINCT tag FROM orders;

-- case: a column's NOT NULL can't be changed
-- expect: sqlite-cannot-alter
ALTER TABLE orders ALTER COLUMN note SET NOT NULL;

-- case: a column's type can't be changed
-- expect: sqlite-cannot-alter
ALTER TABLE orders MODIFY note TEXT;

-- case: a constraint can't be added
-- expect: sqlite-cannot-alter
ALTER TABLE orders ADD CONSTRAINT positive CHECK (total >= 0);

-- case: a foreign key can't be added
-- expect: sqlite-cannot-alter
ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES users (id);

-- case: two columns at once can't be added
-- expect: sqlite-cannot-alter
ALTER TABLE orders ADD COLUMN a TEXT, ADD COLUMN b TEXT;

-- case: a unique column can't be added
-- expect: sqlite-cannot-add
ALTER TABLE orders ADD COLUMN number TEXT UNIQUE;

-- case: a primary key can't be added
-- expect: sqlite-cannot-add
ALTER TABLE orders ADD COLUMN number INTEGER PRIMARY KEY;

-- case: the current time can't be a new column's default
-- expect: sqlite-cannot-add
ALTER TABLE orders ADD COLUMN seen TEXT DEFAULT CURRENT_TIMESTAMP;

-- case: an expression can't be a new column's default
-- expect: sqlite-cannot-add
ALTER TABLE orders ADD COLUMN token TEXT DEFAULT (hex(randomblob(16)));

-- case: a reference with a default can't be added
-- expect: sqlite-cannot-add
ALTER TABLE orders ADD COLUMN user_id INTEGER DEFAULT 1 REFERENCES users (id);

-- case: a reference without a default can
-- expect: nothing
ALTER TABLE orders ADD COLUMN user_id INTEGER REFERENCES users (id);

-- case: a reference whose default is NULL can
-- expect: nothing
ALTER TABLE orders ADD COLUMN user_id INTEGER DEFAULT NULL REFERENCES users (id);

-- case: a stored column can't be added
-- expect: sqlite-cannot-add
ALTER TABLE orders ADD COLUMN gross REAL AS (net * 1.2) STORED;

-- case: a virtual one can
-- expect: nothing
ALTER TABLE orders ADD COLUMN gross REAL AS (net * 1.2) VIRTUAL;

-- case: a negative default is a constant
-- expect: nothing
ALTER TABLE orders ADD COLUMN balance INTEGER DEFAULT -1;

-- case: a column goes
-- expect: sqlite-drop-column
ALTER TABLE orders DROP COLUMN mail;

-- case: a table goes
-- expect: drops-table
DROP TABLE old_orders;

-- case: a renamed table
-- expect: renames-table
ALTER TABLE orders RENAME TO purchases;

-- case: a renamed column
-- expect: renames-column
ALTER TABLE orders RENAME COLUMN mail TO email;

-- case: a renamed column without the word
-- expect: renames-column
ALTER TABLE orders RENAME mail TO email;

-- case: SQLite's own tables are written
-- expect: sqlite-writable-schema
PRAGMA writable_schema = ON;

-- case: VACUUM
-- expect: sqlite-vacuum
VACUUM;

-- case: other pragmas
-- expect: nothing
PRAGMA user_version = 7;

-- case: a unique index on rows that are there
-- expect: unique-on-existing-rows
CREATE UNIQUE INDEX orders_number ON orders (number);

-- case: an index
-- expect: nothing
CREATE INDEX orders_at ON orders (at);

-- case: every row is deleted
-- expect: deletes-all-rows
DELETE FROM orders;

-- case: every row is written
-- expect: updates-all-rows
UPDATE orders SET state = 'new';

-- case: the rows that are left are written
-- expect: nothing
UPDATE orders SET state = 'new' WHERE state IS NULL;

-- case: expand and backfill in one
-- expect: mixed-phases
ALTER TABLE orders ADD COLUMN email TEXT;
UPDATE orders SET email = mail WHERE email IS NULL;

-- case: a header that hides a contract
-- expect: drops-table, header-hides-contract
-- phase: expand
DROP TABLE old_orders;

-- case: a URL with a password in a literal
-- expect: secret-in-migration
INSERT INTO settings (name, value) VALUES ('queue', 'amqp://shop:correct-horse@queue/shop');

-- case: people copied from production
-- expect: copied-data
INSERT INTO users (id, email, phone) VALUES (1, 'a', '1'), (2, 'b', '2'), (3, 'c', '3');

-- case: one invented user
-- expect: nothing
INSERT INTO users (id, email) VALUES (1, 'admin@example.org');

-- case: a parameter
-- expect: placeholder-in-sql
INSERT INTO settings (name, value) VALUES ('region', :region);

-- case: a question mark in a text
-- expect: nothing
INSERT INTO questions (text) VALUES ('why?');

-- case: a trigger's body is not the migration
-- expect: nothing
CREATE TRIGGER gone AFTER DELETE ON users BEGIN DELETE FROM orders; UPDATE log SET n = n + 1; END;

-- case: an allowed rebuild
-- expect: nothing
PRAGMA foreign_keys = OFF;
-- cutover: allow sqlite-table-rebuild: forty rows, and the check is needed
CREATE TABLE new_shops (id INTEGER PRIMARY KEY, name TEXT CHECK (name <> ''));
INSERT INTO new_shops SELECT id, name FROM shops;
DROP TABLE shops;
ALTER TABLE new_shops RENAME TO shops;
PRAGMA foreign_keys = ON;

-- case: a secret can't be allowed
-- expect: allow-without-reason, secret-in-migration
-- cutover: allow secret-in-migration: it is only staging
INSERT INTO settings (name, value) VALUES ('queue', 'amqp://shop:correct-horse@queue/shop');

-- case: an index that a rebuild loses is not seen
-- expect: sqlite-table-rebuild
PRAGMA foreign_keys = OFF;
CREATE TABLE new_tags (name TEXT);
INSERT INTO new_tags SELECT name FROM tags;
DROP TABLE tags;
ALTER TABLE new_tags RENAME TO tags;
