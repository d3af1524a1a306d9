// Detects with a file of `centernet-d2 export --format onnx`, in a page or in Node, by onnxruntime-web.

/**
 * Detections of one picture, best first: {label, score, box: [left, top, right, bottom]} in its pixels.
 *
 * @param rgba bytes of the picture, four per pixel, as a canvas gives them (`ImageData.data`)
 * @param names of the classes; without them labels are numbers
 */
export async function detect(ort, session, rgba, width, height, { threshold = 0.3, names = [] } = {}) {
  if (rgba.length !== 4 * width * height) {
    throw new Error(`${rgba.length} bytes are no picture of ${width} x ${height} with 4 per pixel`);
  }
  const pixels = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    pixels[to++] = rgba[from + 2]; // blue, green, red, as the detector was trained
    pixels[to++] = rgba[from + 1];
    pixels[to++] = rgba[from];
  }
  const pictures = new ort.Tensor('uint8', pixels, [1, height, width, 3]);
  const { scores, pred_classes: classes, pred_boxes: boxes, count } = await session.run({ pictures });
  const found = [];
  for (let row = 0; row < Number(count.data[0]) && scores.data[row] > threshold; row++) {
    const number = Number(classes.data[row]);
    const box = Array.from(boxes.data.slice(4 * row, 4 * row + 4));
    found.push({ label: names[number] ?? String(number), score: scores.data[row], box });
  }
  return found;
}
