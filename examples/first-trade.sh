#!/usr/bin/env bash
# A first trade, end to end: buy 0.5 BTC at market, rest a limit order until the observed market fills it, sell all of it,
# and print what is left: balance, position, fees, realised P&L and the trial balance.
#
# Start Daybook first (make run). Needs curl and jq.
#   DAYBOOK_URL       where it listens        (default http://127.0.0.1:8080)
#   DAYBOOK_DATA_DIR  where api-keys.json is  (default .daybook)
#   QUANTITY          BTC to buy at market    (default 0.5)
#   RESTING           BTC to rest             (default 0.01)
#   PATIENCE_S        how long the resting order may take in all, in seconds (default 300)
set -euo pipefail

url=${DAYBOOK_URL:-http://127.0.0.1:8080}
keys=${DAYBOOK_DATA_DIR:-.daybook}/api-keys.json
quantity=${QUANTITY:-0.5}
resting=${RESTING:-0.01}
patience_s=${PATIENCE_S:-300}
run=$(date +%s%N)

fail() { echo "first-trade: $*" >&2; exit 1; }
for tool in curl jq; do command -v "$tool" >/dev/null || fail "$tool is missing: install it and run this again"; done
[ -r "$keys" ] || fail "cannot read $keys: start Daybook with 'make run' first, or set DAYBOOK_DATA_DIR"
trader=$(jq -er .trader "$keys") || fail "$keys has no key for the role trader"
auditor=$(jq -er .auditor "$keys") || fail "$keys has no key for the role auditor"

# gql KEY QUERY [VARIABLES-JSON]: the data of the answer; a GraphQL error ends the script.
gql() {
  local body answer
  body=$(jq -n --arg query "$2" --argjson variables "${3:-{\}}" '{query: $query, variables: $variables}')
  answer=$(curl -sS --fail-with-body --max-time 30 -H "Authorization: Bearer $1" -H 'Content-Type: application/json' \
    --data "$body" "$url/graphql") || fail "no answer from $url: is Daybook running? $answer"
  if jq -e '.errors' >/dev/null <<<"$answer"; then fail "$(jq -c .errors <<<"$answer")"; fi
  jq .data <<<"$answer"
}

# place NAME INPUT-JSON: places an order and prints its id.
place() {
  local data
  data=$(gql "$trader" 'mutation ($input: PlaceOrderInput!) {
      placeOrder(input: $input) { order { id status } errors { code message } logPosition } }' \
    "$(jq -n --argjson input "$2" --arg key "first-trade-$run-$1" '{input: ($input + {idempotencyKey: $key})}')")
  if jq -e '.placeOrder.errors | length > 0' >/dev/null <<<"$data"; then
    fail "the order $1 was turned down: $(jq -c .placeOrder.errors <<<"$data")"
  fi
  jq -r .placeOrder.order.id <<<"$data"
}

order() {
  gql "$trader" 'query ($id: ID!) { order(id: $id) { status filledQuantity averagePrice fees reason } }' \
    "$(jq -n --arg id "$1" '{id: $id}')" | jq .order
}

# settled ORDER SECONDS: waits until the order has ended, and prints it.
settled() {
  local deadline=$((SECONDS + $2)) state
  while :; do
    state=$(order "$1")
    case $(jq -r .status <<<"$state") in FILLED | CANCELED | EXPIRED | REJECTED) break ;; esac
    [ "$SECONDS" -lt "$deadline" ] || break
    sleep 0.25
  done
  echo "$state"
}

portfolio=$(gql "$trader" '{ portfolios(owner: "demo", first: 1) { edges { node { id name } } } }' |
  jq -er '.portfolios.edges[0].node.id') || fail "the demo trader has no portfolio: was this data folder started with demo data?"
echo "portfolio        $portfolio"

# A new server has no price before the feed's first window.
deadline=$((SECONDS + 15))
until gql "$trader" '{ market(symbol: "BTC-USDT") { lastPrice bid } }' | jq -e '.market.lastPrice and .market.bid' >/dev/null; do
  [ "$SECONDS" -lt "$deadline" ] || fail "the market has had no price for 15 s: is its feed switched off?"
  sleep 0.25
done

echo "buying           $quantity BTC at market"
id=$(place buy "$(jq -n --arg p "$portfolio" --arg q "$quantity" \
  '{portfolioId: $p, symbol: "BTC-USDT", side: "BUY", type: "MARKET", quantity: $q}')")
state=$(settled "$id" 30)
[ "$(jq -r .status <<<"$state")" = FILLED ] || fail "the market order ended as $(jq -c . <<<"$state")"
echo "bought           $(jq -r '"\(.filledQuantity) BTC at \(.averagePrice) on average, fees \(.fees) USDT"' <<<"$state")"

# The order rests at the best bid, at the end of the queue. When the market moves away it is taken back and placed again.
deadline=$((SECONDS + patience_s))
attempt=0
while :; do
  attempt=$((attempt + 1))
  bid=$(gql "$trader" '{ market(symbol: "BTC-USDT") { bid } }' | jq -er .market.bid) || fail "there is no bid yet"
  echo "resting          $resting BTC at $bid (attempt $attempt)"
  id=$(place "rest-$attempt" "$(jq -n --arg p "$portfolio" --arg q "$resting" --arg l "$bid" \
    '{portfolioId: $p, symbol: "BTC-USDT", side: "BUY", type: "LIMIT", quantity: $q, limitPrice: $l}')")
  state=$(settled "$id" 60)
  [ "$(jq -r .status <<<"$state")" = FILLED ] && break
  gql "$trader" 'mutation ($input: CancelOrderInput!) { cancelOrder(input: $input) { errors { code } } }' \
    "$(jq -n --arg id "$id" --arg key "first-trade-$run-cancel-$attempt" '{input: {idempotencyKey: $key, orderId: $id}}')" >/dev/null
  state=$(settled "$id" 5)
  [ "$(jq -r .status <<<"$state")" = FILLED ] && break
  [ "$SECONDS" -lt "$deadline" ] || fail "the resting order was not filled within $patience_s s; set PATIENCE_S to wait longer"
done
echo "filled           $(jq -r '"\(.filledQuantity) BTC at \(.averagePrice), fees \(.fees) USDT"' <<<"$state")"

held=$(gql "$trader" 'query ($id: ID!) { portfolio(id: $id) { positions { asset quantity reserved } } }' \
  "$(jq -n --arg id "$portfolio" '{id: $id}')" | jq -er '.portfolio.positions[] | select(.asset == "BTC") | .quantity')
echo "selling          $held BTC at market"
id=$(place sell "$(jq -n --arg p "$portfolio" --arg q "$held" \
  '{portfolioId: $p, symbol: "BTC-USDT", side: "SELL", type: "MARKET", quantity: $q}')")
state=$(settled "$id" 30)
[ "$(jq -r .status <<<"$state")" = FILLED ] || fail "the market order ended as $(jq -c . <<<"$state")"
echo "sold             $(jq -r '"\(.filledQuantity) BTC at \(.averagePrice) on average, fees \(.fees) USDT"' <<<"$state")"

echo
gql "$trader" 'query ($id: ID!) { portfolio(id: $id) {
    cashAccount { balance held available currency } realizedPnl
    positions { asset quantity averageCost realizedPnl }
    fills(first: 200) { edges { node { fee } } } } }' "$(jq -n --arg id "$portfolio" '{id: $id}')" | jq -r '.portfolio |
  "balance          \(.cashAccount.balance) \(.cashAccount.currency) (held \(.cashAccount.held))",
  (.positions[] | "position         \(.quantity) \(.asset), realised P&L \(.realizedPnl)"),
  "fees             \(.fills.edges | map(.node.fee) | join(" + "))",
  "realised P&L     \(.realizedPnl)"'
echo "trial balance"
gql "$auditor" '{ trialBalance { asset accounts positions outside debits credits difference } }' |
  jq -r '.trialBalance[] | "  \(.asset): accounts \(.accounts), positions \(.positions), outside \(.outside), difference \(.difference)"'
