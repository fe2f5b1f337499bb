// GraphiQL over this server. The key goes into the Headers tab: {"Authorization": "Bearer …"}.

import { Subscriptions } from "./graphql.js";

const EXAMPLE = `# Put a key from api-keys.json into the Headers tab below:
# {"Authorization": "Bearer <key>"}

query Markets {
  markets { symbol lastPrice bid ask stats(window: H1) { vwap volume tradeCount } }
}

subscription Ticker {
  ticker(symbols: ["BTC-USDT"]) { lastPrice bid ask logPosition }
}
`;

const bearer = (headers) => {
  const name = Object.keys(headers).find((name) => name.toLowerCase() === "authorization");
  return name ? headers[name].replace(/^Bearer\s+/i, "") : "";
};

function isSubscription(document, operationName) {
  const operations = document?.definitions.filter((definition) => definition.kind === "OperationDefinition") ?? [];
  const chosen = operations.find((operation) => !operationName || operation.name?.value === operationName);
  return chosen?.operation === "subscription";
}

function fetcher(params, options) {
  const headers = options?.headers ?? {};
  if (!isSubscription(options?.documentAST, params.operationName)) {
    return fetch("/graphql", {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/graphql-response+json, application/json", ...headers },
      body: JSON.stringify(params),
    }).then((response) => response.json());
  }
  return {
    subscribe(observer) {
      const socket = new Subscriptions(bearer(headers), (connected, text) => {
        if (!connected) observer.next({ errors: [{ message: text }] });
      });
      socket.subscribe(params.query, params.variables ?? {}, (data) => observer.next({ data }), (error) => observer.next({ errors: [{ message: error.message }] }));
      return { unsubscribe: () => socket.close() };
    },
  };
}

addEventListener("DOMContentLoaded", () => {
  const { GraphiQL, React, ReactDOM } = window;
  const root = ReactDOM.createRoot(document.getElementById("graphiql"));
  root.render(React.createElement(GraphiQL, { fetcher, defaultQuery: EXAMPLE, shouldPersistHeaders: false, defaultEditorToolsVisibility: "headers" }));
});
