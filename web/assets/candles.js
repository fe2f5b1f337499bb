// Draws candles on a canvas. Prices become floating-point numbers here, for pixels only.

export function draw(canvas, candles) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== width * scale || canvas.height !== height * scale) {
    canvas.width = width * scale;
    canvas.height = height * scale;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  if (candles.length === 0) {
    context.fillStyle = colour("--quiet");
    context.font = "13px system-ui, sans-serif";
    context.fillText("no trades yet", 8, 20);
    return;
  }

  const axis_px = 76, top_px = 8, bottom_px = 18;
  const low = Math.min(...candles.map((c) => Number(c.low)));
  const high = Math.max(...candles.map((c) => Number(c.high)));
  const span = high - low || high * 0.0001 || 1;
  const y = (price) => top_px + ((high - price) / span) * (height - top_px - bottom_px);

  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (let i = 0; i <= 4; i++) {
    const price = low + (span * i) / 4;
    context.strokeStyle = colour("--line");
    context.beginPath();
    context.moveTo(0, y(price));
    context.lineTo(width - axis_px, y(price));
    context.stroke();
    context.fillStyle = colour("--quiet");
    context.fillText(price.toFixed(2), width - axis_px + 6, y(price));
  }

  const step = (width - axis_px) / Math.max(candles.length, 30);
  candles.forEach((candle, i) => {
    const [open, close] = [Number(candle.open), Number(candle.close)];
    const x = i * step + step / 2;
    context.strokeStyle = context.fillStyle = colour(close >= open ? "--up" : "--down");
    context.beginPath();
    context.moveTo(x, y(Number(candle.high)));
    context.lineTo(x, y(Number(candle.low)));
    context.stroke();
    const body = Math.max(1, Math.abs(y(open) - y(close)));
    context.fillRect(x - step * 0.35, Math.min(y(open), y(close)), Math.max(1, step * 0.7), body);
  });

  const time = (text) => new Date(text).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  context.fillStyle = colour("--quiet");
  context.textBaseline = "alphabetic";
  context.fillText(time(candles[0].openTime), 2, height - 4);
  const last = time(candles[candles.length - 1].openTime);
  if (candles.length > 8) context.fillText(last, (candles.length - 1) * step - 20, height - 4);
}
