-- Failed attempts to prove who one is, counted in lanes. `subject` is a person, or a keyed digest of an address;
-- `place` the browser, network or session that tries, '' for all strangers together; `open_at` when the next attempt
-- counts, or for steady lanes how far ahead they have been used. Whatever was counted before begins anew.
CREATE TABLE attempts (
    subject TEXT NOT NULL,
    act TEXT NOT NULL,
    place TEXT NOT NULL,
    failures BIGINT NOT NULL,
    open_at BIGINT NOT NULL,
    touched_at BIGINT NOT NULL,
    PRIMARY KEY (subject, act, place)
);
CREATE INDEX attempts_by_touch ON attempts (touched_at);

-- Browsers and networks in which somebody has proven who they are of late.
CREATE TABLE known_places (
    subject TEXT NOT NULL,
    place TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (subject, place)
);
CREATE INDEX known_places_by_time ON known_places (seen_at);

-- What a running server noticed and `doctor` tells.
CREATE TABLE notices (
    name TEXT NOT NULL PRIMARY KEY,
    detail TEXT NOT NULL,
    at BIGINT NOT NULL
);
