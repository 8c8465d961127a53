-- What the client wants to find in the ID token, so that it knows it for the answer to its own request.
ALTER TABLE codes ADD COLUMN nonce TEXT;
