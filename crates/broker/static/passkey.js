// A form with `data-passkey` holds what the server asks of the browser's passkeys, as JSON. Sending the form
// asks for one, puts the answer into the field `credential` and sends the form for good. One with `data-now` asks as soon as
// it is there, where the browser allows that without a click.
"use strict";

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));

const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const descriptors = (list) => list?.map((one) => ({ ...one, id: bytes(one.id) }));

async function register({ publicKey }) {
  const asked = {
    ...publicKey,
    challenge: bytes(publicKey.challenge),
    user: { ...publicKey.user, id: bytes(publicKey.user.id) },
    excludeCredentials: descriptors(publicKey.excludeCredentials),
  };
  const made = await navigator.credentials.create({ publicKey: asked });
  return {
    id: made.id,
    rawId: text(made.rawId),
    type: made.type,
    extensions: {},
    response: {
      attestationObject: text(made.response.attestationObject),
      clientDataJSON: text(made.response.clientDataJSON),
      transports: made.response.getTransports?.(),
    },
  };
}

async function show({ publicKey }) {
  const asked = {
    ...publicKey,
    challenge: bytes(publicKey.challenge),
    allowCredentials: descriptors(publicKey.allowCredentials),
  };
  const shown = await navigator.credentials.get({ publicKey: asked });
  return {
    id: shown.id,
    rawId: text(shown.rawId),
    type: shown.type,
    extensions: {},
    response: {
      authenticatorData: text(shown.response.authenticatorData),
      clientDataJSON: text(shown.response.clientDataJSON),
      signature: text(shown.response.signature),
      userHandle: shown.response.userHandle ? text(shown.response.userHandle) : null,
    },
  };
}

async function ask(form, failed) {
  failed.hidden = true;
  try {
    const asked = JSON.parse(form.dataset.passkey);
    const answer = form.dataset.act === "register" ? await register(asked) : await show(asked);
    form.elements.credential.value = JSON.stringify(answer);
    form.submit();
  } catch (error) {
    failed.textContent = error.name === "InvalidStateError"
      ? "This passkey is registered already."
      : "The browser gave no passkey: it was cancelled, took too long, or there is none here.";
    failed.hidden = false;
  }
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const failed = form.querySelector("[data-failed]");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(form, failed);
  });
  if ("now" in form.dataset) ask(form, failed);
}
