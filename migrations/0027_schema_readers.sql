-- Which versions may use this schema: those that know schema `oldest` or a later one. A migration that only adds leaves
-- it as it is, so that a version goes on while the next one is rolled out; one that takes something away, or makes
-- something mandatory, sets it to the schema since which no version needs what was.
CREATE TABLE schema_readers (
    id BIGINT NOT NULL PRIMARY KEY,
    oldest BIGINT NOT NULL
);
INSERT INTO schema_readers (id, oldest) VALUES (1, 24);
