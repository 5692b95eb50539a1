-- case: a table with everything right
-- expect: nothing
CREATE TABLE orders (id BIGINT PRIMARY KEY AUTO_INCREMENT, item VARCHAR(200) NOT NULL, INDEX (item)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- case: a nullable column
-- expect: nothing
ALTER TABLE orders ADD COLUMN note TEXT;

-- case: a nullable column that must be instant
-- expect: nothing
ALTER TABLE orders ADD COLUMN note TEXT, ALGORITHM=INSTANT;

-- case: a required column with a default
-- expect: nothing
ALTER TABLE orders ADD COLUMN state VARCHAR(20) NOT NULL DEFAULT 'new';

-- case: a required column without default gets an empty value silently
-- expect: required-column
ALTER TABLE orders ADD COLUMN state VARCHAR(20) NOT NULL;

-- case: several columns in parentheses, one required
-- expect: required-column
ALTER TABLE orders ADD COLUMN (note TEXT, state VARCHAR(20) NOT NULL);

-- case: a copy that is asked for
-- expect: mysql-algorithm-copy
ALTER TABLE orders ADD COLUMN note TEXT, ALGORITHM=COPY;

-- case: a copy that is asked for without an equals sign
-- expect: mysql-algorithm-copy
ALTER TABLE orders ADD COLUMN note TEXT, ALGORITHM COPY;

-- case: writers kept out on purpose
-- expect: mysql-lock-asked-for
ALTER TABLE orders ADD INDEX (at), LOCK=SHARED;

-- case: everybody kept out on purpose
-- expect: mysql-lock-asked-for
CREATE INDEX orders_at ON orders (at) LOCK=EXCLUSIVE;

-- case: an index while everybody goes on
-- expect: nothing
CREATE INDEX orders_at ON orders (at) ALGORITHM=INPLACE LOCK=NONE;

-- case: another type
-- expect: mysql-column-type
ALTER TABLE orders MODIFY COLUMN total BIGINT;

-- case: another type by CHANGE
-- expect: mysql-column-type
ALTER TABLE orders CHANGE total total DECIMAL(12,2);

-- case: an ENUM loses a value
-- expect: mysql-column-type
ALTER TABLE orders MODIFY state ENUM('new', 'paid') NOT NULL;

-- case: an ENUM gets a value at its end, in place or not at all
-- expect: nothing
ALTER TABLE orders MODIFY state ENUM('new', 'paid', 'sent'), ALGORITHM=INSTANT;

-- case: NOT NULL by MODIFY
-- expect: mysql-column-type
ALTER TABLE orders MODIFY email VARCHAR(200) NOT NULL;

-- case: a longer column in place or not at all
-- expect: nothing
ALTER TABLE orders MODIFY note VARCHAR(250), ALGORITHM=INPLACE, LOCK=NONE;

-- case: another character set
-- expect: mysql-copies-table
ALTER TABLE orders CONVERT TO CHARACTER SET utf8mb4;

-- case: another engine
-- expect: mysql-copies-table
ALTER TABLE orders ENGINE=InnoDB;

-- case: other partitions
-- expect: mysql-copies-table
-- phase: expand
ALTER TABLE orders PARTITION BY HASH (id) PARTITIONS 8;

-- case: another primary key
-- expect: mysql-copies-table
ALTER TABLE orders DROP PRIMARY KEY, ADD PRIMARY KEY (number);

-- case: another order
-- expect: mysql-copies-table
ALTER TABLE orders ORDER BY number;

-- case: a stored generated column
-- expect: mysql-stored-column
ALTER TABLE orders ADD COLUMN gross DECIMAL(12,2) AS (net * 1.2) STORED;

-- case: a persistent one, as MariaDB says it
-- expect: mysql-stored-column
ALTER TABLE orders ADD COLUMN gross DECIMAL(12,2) AS (net * 1.2) PERSISTENT;

-- case: a virtual one
-- expect: nothing
ALTER TABLE orders ADD COLUMN gross DECIMAL(12,2) AS (net * 1.2) VIRTUAL;

-- case: an expression as default
-- expect: mysql-expression-default
ALTER TABLE orders ADD COLUMN token BINARY(16) DEFAULT (UUID_TO_BIN(UUID()));

-- case: a function as default, as MariaDB allows it
-- expect: mysql-expression-default
ALTER TABLE orders ADD COLUMN token VARCHAR(36) DEFAULT UUID();

-- case: the current time as default
-- expect: nothing
ALTER TABLE orders ADD COLUMN at DATETIME DEFAULT CURRENT_TIMESTAMP;

-- case: a foreign key
-- expect: mysql-foreign-key
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id);

-- case: a foreign key with the checks off, in place or not at all
-- expect: nothing
SET foreign_key_checks = 0;
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id), ALGORITHM=INPLACE, LOCK=NONE;
SET foreign_key_checks = 1;

-- case: a foreign key of a new table
-- expect: nothing
CREATE TABLE payments (id BIGINT PRIMARY KEY, order_id BIGINT, FOREIGN KEY (order_id) REFERENCES orders (id));

-- case: a reference that is ignored
-- expect: mysql-inline-reference
CREATE TABLE payments (id BIGINT PRIMARY KEY, order_id BIGINT REFERENCES orders (id));

-- case: a reference of a new column that is ignored
-- expect: mysql-inline-reference
ALTER TABLE payments ADD COLUMN order_id BIGINT REFERENCES orders (id);

-- case: a full-text index
-- expect: mysql-index-blocks-writers
CREATE FULLTEXT INDEX orders_note ON orders (note);

-- case: a full-text index by ALTER
-- expect: mysql-index-blocks-writers
ALTER TABLE orders ADD FULLTEXT INDEX orders_note (note);

-- case: a spatial index
-- expect: mysql-index-blocks-writers
CREATE SPATIAL INDEX places_at ON places (at);

-- case: numbers for rows that are there
-- expect: mysql-index-blocks-writers
ALTER TABLE orders ADD COLUMN seq BIGINT NOT NULL AUTO_INCREMENT, ADD INDEX (seq);

-- case: a unique index on rows that are there
-- expect: unique-on-existing-rows
CREATE UNIQUE INDEX orders_number ON orders (number);

-- case: a unique key on rows that are there
-- expect: unique-on-existing-rows
ALTER TABLE orders ADD UNIQUE KEY orders_number (number);

-- case: an engine without transactions
-- expect: mysql-engine-without-transactions
CREATE TABLE log (id BIGINT PRIMARY KEY) ENGINE=MyISAM;

-- case: three bytes a character
-- expect: mysql-utf8mb3
CREATE TABLE notes (id BIGINT PRIMARY KEY, body TEXT) DEFAULT CHARSET=utf8;

-- case: three bytes a character in one column
-- expect: mysql-utf8mb3
ALTER TABLE notes ADD COLUMN title VARCHAR(20) CHARACTER SET utf8mb3;

-- case: what a dump begins with
-- expect: mysql-lock-tables
LOCK TABLES orders WRITE;
INSERT INTO orders (item) VALUES ('a');
UNLOCK TABLES;

-- case: everything is locked
-- expect: mysql-lock-tables
FLUSH TABLES WITH READ LOCK;

-- case: a foreign key goes
-- expect: mysql-drops-constraint
ALTER TABLE orders DROP FOREIGN KEY orders_user;

-- case: a column goes
-- expect: drops-column
ALTER TABLE orders DROP COLUMN mail;

-- case: a table goes
-- expect: drops-table
DROP TABLE IF EXISTS old_orders;

-- case: a renamed table
-- expect: renames-table
RENAME TABLE orders TO purchases;

-- case: a renamed table by ALTER
-- expect: renames-table
ALTER TABLE orders RENAME TO purchases;

-- case: a renamed column
-- expect: renames-column
ALTER TABLE orders RENAME COLUMN mail TO email;

-- case: a renamed column by CHANGE, in place
-- expect: renames-column
ALTER TABLE orders CHANGE mail email VARCHAR(200), ALGORITHM=INPLACE;

-- case: a renamed index, which no code names
-- expect: nothing
ALTER TABLE orders RENAME INDEX a TO b;

-- case: a renamed index whose header says so
-- expect: nothing
-- phase: expand
ALTER TABLE orders RENAME INDEX a TO b;

-- case: expand and contract in one
-- expect: drops-column, mixed-phases
ALTER TABLE orders ADD COLUMN email VARCHAR(200);
ALTER TABLE orders DROP COLUMN mail;

-- case: a header that hides a contract
-- expect: drops-column, header-hides-contract
-- phase: backfill
ALTER TABLE orders DROP COLUMN mail;

-- case: a call nobody can read
-- expect: unclear-phase
CALL rebuild();

-- case: every row is deleted
-- expect: deletes-all-rows
TRUNCATE TABLE orders;

-- case: every row is written
-- expect: updates-all-rows
UPDATE orders SET state = 'new';

-- case: a bounded part is written
-- expect: nothing
UPDATE orders SET state = 'new' WHERE state IS NULL LIMIT 1000;

-- case: a user with a password
-- expect: password-in-migration
CREATE USER 'reports'@'%' IDENTIFIED BY 'correct-horse';

-- case: a user with a hash
-- expect: password-in-migration
CREATE USER reports IDENTIFIED WITH mysql_native_password AS '*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19';

-- case: a user whose password the server makes
-- expect: nothing
CREATE USER reports IDENTIFIED BY RANDOM PASSWORD;

-- case: people copied from production
-- expect: copied-data
INSERT INTO customers (id, phone) VALUES (1, '1'), (2, '2'), (3, '3');

-- case: a parameter
-- expect: placeholder-in-sql
INSERT INTO settings (name, value) VALUES ('region', ?);

-- case: text that is run as SQL
-- expect: sql-from-text
-- phase: expand
SET @sql = CONCAT('ALTER TABLE ', @t, ' ADD COLUMN note TEXT');
PREPARE s FROM @sql;
EXECUTE s;

-- case: a routine's body is not the migration
-- expect: nothing
CREATE PROCEDURE clean() BEGIN DELETE FROM orders; UPDATE users SET seen = now(); END;

-- case: a new table is changed at will
-- expect: nothing
CREATE TABLE tags (name VARCHAR(80));
ALTER TABLE tags MODIFY name VARCHAR(100) NOT NULL;
CREATE UNIQUE INDEX tags_name ON tags (name);
UPDATE tags SET name = lower(name);

-- case: an allowed finding
-- expect: nothing
-- cutover: allow mysql-column-type: the table has one row per shop
ALTER TABLE shops MODIFY name VARCHAR(400);

-- case: an allow on the wrong statement
-- expect: allow-unused, mixed-phases, mysql-column-type
-- cutover: allow mysql-column-type: the table has one row per shop
ALTER TABLE shops ADD COLUMN note TEXT, ALGORITHM=INSTANT;
ALTER TABLE shops MODIFY name VARCHAR(400);

-- case: an index on a column that is too long for it is not seen
-- expect: nothing
CREATE INDEX orders_note ON orders (note);
