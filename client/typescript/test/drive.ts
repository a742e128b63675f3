// Predicts, logs, clicks and is refused: what tests/client/test_typescript.py then finds in the log.
import { connect, type Schemas } from "../src/index.js";

const client = connect(process.argv[2]!, process.argv[3]);
const candidates: Schemas["PredictRequest"]["candidates"] = [{ id: "x", item: "i1" }, { id: "y", item: "i2", tags: ["a", "b"] }];
const context = { user: "u1", price: 0.5 };

const { data, error } = await client.POST("/v1/predict", { body: { candidates, context, log: ["y"] } });
if (error) throw new Error(error.detail);
const shown = data.predictions[1]!;
await client.POST("/v1/impressions", { body: [{ impression_id: "mine", features: { item: "i1" } }] });
await client.POST("/v1/clicks", { body: { impression_id: shown.impression_id, value: 2.5 } });
const explained = await client.POST("/v1/explain", { body: { candidates, context } });
const refused = await client.POST("/v1/predict", { body: { candidates: [] } });
const fields = (await client.GET("/v1/model")).data?.fields.length;
// @ts-expect-error a candidate without an id is found when compiled
const wrong: Schemas["PredictRequest"] = { candidates: [{ item: "i1" }] };

console.log(
  JSON.stringify({
    predicted: data,
    logits: explained.data?.explanations.map((each) => each.logit),
    refused: [refused.response.status, refused.error?.field, wrong.candidates.length],
    fields,
  }),
);
