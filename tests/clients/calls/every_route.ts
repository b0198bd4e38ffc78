// Call every route that answers JSON with the generated types; print what each answered.
// Run: node every_route.js SERVICE OPERATOR_KEY ACCOUNT TOKEN USER
import createClient from "openapi-fetch";
import type { components, paths } from "./identity.js";

type Problem = components["schemas"]["Problem"];
type Told<Data> = { data?: Data; error?: Problem; response: Response };

const [service = "", key = "", account = "", accessToken = "", user = ""] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl: service, headers: { Authorization: `Bearer ${key}` } });

function show<Data>(route: string, told: Told<Data>, read: (data: Data) => unknown): void {
  const found = told.data === undefined ? told.error?.detail : read(told.data);
  console.log(route, told.response.status, found);
}

const ofAccount = { path: { igAccountId: account } };
const ofUser = { path: { igUserId: user } };
const connection = { locationId: "loc_1", accessToken, login: "facebook" as const };
const participants = [{ igAccountId: account, igUserId: user, wrote: true }];
const body = { igUserIds: [user, "1"] };

show("putConnection",
  await api.PUT("/api/social/instagram/connections/{igAccountId}", { params: ofAccount, body: connection }),
  (found) => found.tokenStatus);
const change = { locationId: "loc_1" };
show("changeConnection",
  await api.PATCH("/api/social/instagram/connections/{igAccountId}", { params: ofAccount, body: change }),
  (found) => found.locationId);
show("listConnections",
  await api.GET("/api/social/instagram/connections"), (found) => found.connections[0]?.locationId);
show("announceParticipants",
  await api.POST("/api/social/instagram/participants", { body: { participants } }), (found) => found.accepted);
show("refreshUser",
  await api.POST("/api/social/instagram/users/{igUserId}/refresh", { params: ofUser }), (found) => found.state);
show("backfillMessages",
  await api.POST("/api/social/instagram/messages/backfill", { params: { query: { locationId: "loc_1" } } }),
  (found) => found.remaining);
show("listPeople",
  await api.GET("/api/social/instagram/people", { params: { query: { state: "resolved", named: true } } }),
  (found) => found.people[0]?.accounts.length);
show("getStatus", await api.GET("/api/social/instagram/status"), (found) => found.postgres);
const ofScope = { path: { scope: `account:${account}` } };
show("liftPause",
  await api.DELETE("/api/social/instagram/pauses/{scope}", { params: ofScope }), () => "lifted");
show("getConsoleContext", await api.GET("/console/context"), (found) => found.maxFailures);
show("getUser",
  await api.GET("/api/social/instagram/users/{igUserId}", { params: ofUser }), (found) => found.source);
show("getUsers",
  await api.GET("/api/social/instagram/users", { params: { query: { ids: [user, "1", user] } } }),
  (found) => found.users.map((each) => each.state).join());
show("makeGrant", await api.POST("/api/social/instagram/grants", { body: {} }), (found) => typeof found.grant);
show("eraseUsers", await api.POST("/api/social/instagram/users/erase", { body }), (found) => found.erased);
show("eraseUser", await api.DELETE("/api/social/instagram/users/{igUserId}", { params: ofUser }), () => "");
const gone = () => api.DELETE("/api/social/instagram/connections/{igAccountId}", { params: ofAccount });
show("deleteConnection", await gone(), () => "");
show("deleteConnection", await gone(), () => "");
