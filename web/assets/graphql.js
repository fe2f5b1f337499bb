// A client for GraphQL over HTTP and for subscriptions over the protocol graphql-transport-ws:
// https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md

export class GraphQlError extends Error {
  constructor(errors) {
    super(errors.map((error) => error.message).join("; "));
    this.code = errors[0]?.extensions?.code;
  }
}

export async function query(key, text, variables = {}) {
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/graphql-response+json, application/json", authorization: `Bearer ${key}` },
    body: JSON.stringify({ query: text, variables }),
  });
  const answer = await response.json().catch(() => ({ errors: [{ message: `HTTP status ${response.status}` }] }));
  if (answer.errors?.length) throw new GraphQlError(answer.errors);
  return answer.data;
}

// One socket with any number of subscriptions. It connects again by itself and starts every subscription anew; one that
// wants to go on where it was gives its variables as a function.
export class Subscriptions {
  #key; #socket; #wanted = new Map(); #next = 1; #delay_ms = 500; #closed = false; #onState;

  constructor(key, onState) {
    this.#key = key;
    this.#onState = onState;
    this.#connect();
  }

  subscribe(text, variables, onData, onError = () => {}) {
    const id = String(this.#next++);
    this.#wanted.set(id, { text, variables, onData, onError });
    if (this.#socket?.acknowledged) this.#start(id);
    return () => {
      this.#wanted.delete(id);
      this.#send({ id, type: "complete" });
    };
  }

  close() {
    this.#closed = true;
    this.#socket?.close(1000);
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #start(id) {
    const { text, variables } = this.#wanted.get(id);
    this.#send({ id, type: "subscribe", payload: { query: text, variables: typeof variables === "function" ? variables() : variables } });
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/graphql`, "graphql-transport-ws");
    this.#socket = socket;
    socket.onopen = () => this.#send({ type: "connection_init", payload: { authorization: `Bearer ${this.#key}` } });
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code, reason }) => {
      if (this.#closed) return;
      const refused = code === 4401 || code === 4403;
      this.#onState(false, refused ? "the key was refused" : reason || "connection lost, trying again");
      if (refused) return;
      setTimeout(() => this.#connect(), this.#delay_ms);
      this.#delay_ms = Math.min(this.#delay_ms * 2, 10_000);
    };
  }

  #receive(message) {
    const wanted = this.#wanted.get(message.id);
    switch (message.type) {
      case "connection_ack":
        this.#socket.acknowledged = true;
        this.#delay_ms = 500;
        this.#onState(true, "live");
        for (const id of this.#wanted.keys()) this.#start(id);
        break;
      case "ping":
        this.#send({ type: "pong" });
        break;
      case "next":
        if (message.payload.errors?.length) wanted?.onError(new GraphQlError(message.payload.errors));
        if (message.payload.data) wanted?.onData(message.payload.data);
        break;
      case "error":
        wanted?.onError(new GraphQlError(message.payload));
        this.#wanted.delete(message.id);
        break;
      case "complete":
        this.#wanted.delete(message.id);
        break;
    }
  }
}
