/** SML Online over HTTP. The types of requests and answers are made from the server's OpenAPI document, by `make client`. */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type Schemas = components["schemas"];

/**
 * Return a client of the server at `url`: `client.POST("/v1/predict", { body })` gives `{ data, error, response }`.
 *
 * @param key of the API, or a token; without one where the server is open
 */
export function connect(url: string, key?: string): Client<paths> {
  return createClient<paths>({ baseUrl: url, ...(key === undefined ? {} : { headers: { Authorization: `Bearer ${key}` } }) });
}
