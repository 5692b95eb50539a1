CREATE TABLE products (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    price_cents bigint NOT NULL CHECK (price_cents >= 0),
    stock bigint NOT NULL CHECK (stock >= 0)
);

CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id bigint NOT NULL REFERENCES products (id),
    quantity bigint NOT NULL CHECK (quantity > 0),
    placed_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO products (id, name, price_cents, stock) VALUES
    (1, 'Tea', 450, 1000000000),
    (2, 'Coffee', 690, 1000000000),
    (3, 'Honey', 820, 1000000000),
    (4, 'The last cup', 1200, 1);
