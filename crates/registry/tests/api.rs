//! The REST API over a real server, with raw requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Running, record, schema_body};
use serde_json::{Value as Json, json};

#[tokio::test]
async fn registering_and_reading_back() {
    let server = Running::memory().await;
    assert_eq!(server.get("/").await.text, "{}");
    assert_eq!(server.get("/subjects").await.text, "[]");
    let answer = server.post("/subjects/s/versions", &schema_body(r#"{ "type" : "string" }"#)).await;
    // MD5 of `"string"` with the quotes, laid out as a UUID.
    let guid = "095d71cf-1255-6b9d-5e33-0ad575b3df5d";
    assert_eq!(
        answer.text,
        format!(r#"{{"id":1,"version":1,"guid":"{guid}","schemaType":"AVRO","schema":"\"string\""}}"#)
    );
    assert_eq!(answer.content_type, "application/vnd.schemaregistry.v1+json");
    let entity =
        format!(r#"{{"subject":"s","version":1,"id":1,"guid":"{guid}","schemaType":"AVRO","schema":"\"string\""}}"#);
    for path in
        ["/subjects/s/versions/1", "/subjects/s/versions/latest", "/subjects/s/versions/-1", "/subjects/s/versions/1/"]
    {
        assert_eq!(server.get(path).await.text, entity, "{path}");
    }
    assert_eq!(server.post("/subjects/s", &schema_body(r#""string""#)).await.text, entity);
    assert_eq!(server.get("/subjects/s/versions/1/schema").await.text, r#""string""#);
    assert_eq!(
        server.get("/schemas/ids/1").await.text,
        format!(r#"{{"guid":"{guid}","schemaType":"AVRO","schema":"\"string\""}}"#)
    );
    assert_eq!(server.get("/schemas/ids/1?fetchMaxId=true").await.json()["maxId"], 1);
    assert_eq!(server.get("/schemas/ids/1/schema").await.text, r#""string""#);
    assert_eq!(server.get("/schemas/ids/1/subjects").await.text, r#"["s"]"#);
    assert_eq!(server.get("/schemas/ids/1/versions").await.text, r#"[{"subject":"s","version":1}]"#);
    assert_eq!(server.get(&format!("/schemas/guids/{guid}")).await.json()["schema"], r#""string""#);
    assert_eq!(server.get(&format!("/schemas/guids/{guid}/ids")).await.text, r#"[{"context":".","id":1}]"#);
    assert_eq!(server.get("/schemas").await.text, format!("[{entity}]"));
    assert_eq!(server.get("/schemas/types").await.text, r#"["AVRO"]"#);
    assert_eq!(server.get("/contexts").await.text, r#"["."]"#);
    server.stop().await;
}

#[tokio::test]
async fn errors_have_the_codes_and_words_of_the_reference_server() {
    let server = Running::memory().await;
    server.register("s", r#""string""#).await;
    let expected = [
        ("/subjects/none/versions", 404, 40401, "Subject 'none' not found."),
        ("/subjects/s/versions/9", 404, 40402, "Version 9 not found."),
        ("/schemas/ids/9", 404, 40403, "Schema 9 not found"),
        (
            "/subjects/s/versions/0",
            422,
            42202,
            "The specified version '0' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\"",
        ),
        ("/config/s", 404, 40408, "Subject 's' does not have subject-level compatibility configured"),
        ("/mode/s", 404, 40409, "Subject 's' does not have subject-level mode configured"),
        ("/nonsense", 404, 404, "HTTP 404 Not Found"),
        ("/schemas/ids/abc", 404, 404, "HTTP 404 Not Found"),
    ];
    for (path, status, code, message) in expected {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.status, answer.json()),
            (status, json!({ "error_code": code, "message": message })),
            "{path}"
        );
    }
    assert_eq!(
        server.send("PATCH", "/subjects", &[], None).await.text,
        r#"{"error_code":405,"message":"HTTP 405 Method Not Allowed"}"#
    );
    let look_up = server.post("/subjects/s", &schema_body(r#""bytes""#)).await;
    assert_eq!(look_up.json(), json!({ "error_code": 40403, "message": "Schema not found" }));
    assert_eq!(server.post("/subjects/none", &schema_body(r#""bytes""#)).await.error_code(), 40401);
    let level = server.put("/config", &json!({ "compatibility": "nope" })).await;
    assert_eq!((level.status, level.error_code()), (422, 42203));
    assert_eq!(server.put("/mode", &json!({ "mode": "nope" })).await.error_code(), 42204);
    for body in
        [json!({ "schema": "{" }), json!({ "schema": "" }), json!({}), json!({ "schema": "{}", "schemaType": "JSON" })]
    {
        let answer = server.post("/subjects/s/versions", &body).await;
        assert_eq!((answer.status, answer.error_code()), (422, 42201), "{body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn bodies_that_are_no_json_or_of_another_type() {
    let server = Running::memory().await;
    let kind = ("content-type", "application/json");
    assert_eq!(server.send("POST", "/subjects/s/versions", &[kind], Some("{nope")).await.status, 400);
    assert_eq!(server.send("POST", "/subjects/s/versions", &[kind], None).await.status, 422);
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(server.send("POST", "/subjects/s/versions", &[form], Some("{}")).await.status, 415);
    for kind in [
        "application/vnd.schemaregistry+json",
        "application/vnd.schemaregistry.v1+json; charset=utf-8",
        "application/octet-stream",
    ] {
        let body = schema_body(r#""int""#).to_string();
        assert_eq!(
            server.send("POST", "/subjects/s/versions", &[("content-type", kind)], Some(&body)).await.status,
            200,
            "{kind}"
        );
    }
    let huge = "x".repeat(9 * 1024 * 1024);
    assert_eq!(server.send("POST", "/subjects/s/versions", &[kind], Some(&huge)).await.status, 413);
    let json = server.send("GET", "/subjects", &[("accept", "application/json")], None).await;
    assert_eq!(json.content_type, "application/json");
    server.stop().await;
}

#[tokio::test]
async fn subjects_come_percent_coded_and_paths_with_a_slash_at_the_end() {
    let server = Running::memory().await;
    server.register("a%2Fb%20c%3Ad", r#""int""#).await;
    assert_eq!(server.get("/subjects/").await.json(), json!(["a/b c:d"]));
    assert_eq!(server.get("/subjects/a%2Fb%20c%3Ad/versions/").await.text, "[1]");
    assert_eq!(server.get("/config/").await.json(), json!({ "compatibilityLevel": "BACKWARD" }));
    let check = server
        .post("/compatibility/subjects/a%2Fb%20c%3Ad/versions/?verbose=True&normalize=False", &schema_body(r#""long""#))
        .await;
    assert_eq!(check.json(), json!({ "is_compatible": true, "messages": [] }));
    server.stop().await;
}

#[tokio::test]
async fn an_incompatible_schema_is_refused_and_checks_say_why() {
    let server = Running::memory().await;
    server.register("s", &record(&["a"])).await;
    let breaking = schema_body(&record(&["a", "!b"]));
    let refused = server.post("/subjects/s/versions", &breaking).await;
    assert_eq!((refused.status, refused.error_code()), (409, 409));
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE'"), "{message}");
    for path in ["versions", "versions/latest", "versions/1"] {
        let path = format!("/compatibility/subjects/s/{path}");
        assert_eq!(server.post(&path, &breaking).await.json(), json!({ "is_compatible": false }));
        let verbose = server.post(&format!("{path}?verbose=true"), &breaking).await.json();
        assert_eq!(verbose["is_compatible"], false);
        assert!(verbose["messages"].as_array().unwrap().len() > 1, "{verbose}");
        assert_eq!(
            server.post(&path, &schema_body(&record(&["a", "b"]))).await.json(),
            json!({ "is_compatible": true })
        );
    }
    assert_eq!(
        server.post("/compatibility/subjects/none/versions/latest", &breaking).await.json(),
        json!({ "is_compatible": true })
    );
    assert_eq!(server.post("/compatibility/subjects/s/versions/9", &breaking).await.error_code(), 40402);
    assert_eq!(server.post("/compatibility/subjects/s/versions", &schema_body("{")).await.error_code(), 42201);
    server.stop().await;
}

#[tokio::test]
async fn every_level_lets_through_what_it_should() {
    // Level, then whether it takes: a field more without a default, a field more with one, a field with a default less, one without less.
    let truth: [(&str, [bool; 4]); 7] = [
        ("NONE", [true, true, true, true]),
        ("BACKWARD", [false, true, true, true]),
        ("BACKWARD_TRANSITIVE", [false, true, true, true]),
        ("FORWARD", [true, true, true, false]),
        ("FORWARD_TRANSITIVE", [true, true, true, false]),
        ("FULL", [false, true, true, false]),
        ("FULL_TRANSITIVE", [false, true, true, false]),
    ];
    let server = Running::memory().await;
    for (level, expected) in truth {
        let subject = level.to_lowercase();
        let set = server.put(&format!("/config/{subject}"), &json!({ "compatibility": level.to_lowercase() })).await;
        assert_eq!(set.json(), json!({ "compatibility": level }));
        server.register(&subject, &record(&["!a", "b"])).await;
        let changes = [record(&["!a", "b", "!c"]), record(&["!a", "b", "c"]), record(&["!a"]), record(&["b"])];
        for (change, expected) in changes.iter().zip(expected) {
            let path = format!("/compatibility/subjects/{subject}/versions");
            let verdict = server.post(&path, &schema_body(change)).await.json();
            assert_eq!(verdict, json!({ "is_compatible": expected }), "{level} {change}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn levels_are_set_read_and_removed() {
    let server = Running::memory().await;
    assert_eq!(server.get("/config/s?defaultToGlobal=TRUE").await.json(), json!({ "compatibilityLevel": "BACKWARD" }));
    server.put("/config", &json!({ "compatibility": "FULL" })).await;
    server.put("/config/s", &json!({ "compatibility": "NONE", "alias": null, "unknown": 1 })).await;
    assert_eq!(server.get("/config").await.json(), json!({ "compatibilityLevel": "FULL" }));
    assert_eq!(server.get("/config/s").await.json(), json!({ "compatibilityLevel": "NONE" }));
    let normalize = server.put("/config/s", &json!({ "normalize": true })).await;
    assert_eq!(normalize.json(), json!({ "normalize": true, "compatibility": "NONE" }));
    assert_eq!(server.put("/config/s", &json!({ "compatibilityGroup": "g" })).await.error_code(), 42205);
    assert_eq!(server.delete("/config/s").await.json(), json!({ "normalize": true, "compatibilityLevel": "NONE" }));
    assert_eq!(server.delete("/config/s").await.error_code(), 40401);
    assert_eq!(server.delete("/config").await.json(), json!({ "compatibilityLevel": "FULL" }));
    assert_eq!(server.get("/config").await.json(), json!({ "compatibilityLevel": "BACKWARD" }));
    server.stop().await;
}

#[tokio::test]
async fn modes_are_set_and_hold() {
    let server = Running::memory().await;
    assert_eq!(server.get("/mode").await.json(), json!({ "mode": "READWRITE" }));
    assert_eq!(server.put("/mode", &json!({ "mode": "READONLY" })).await.json(), json!({ "mode": "READONLY" }));
    let refused = server.post("/subjects/s/versions", &schema_body(r#""int""#)).await;
    assert_eq!(
        refused.json(),
        json!({ "error_code": 42205, "message": "Subject s in context . is in read-only mode" })
    );
    assert_eq!(server.delete("/mode").await.json(), json!({ "mode": "READONLY" }));
    server.put("/mode/s", &json!({ "mode": "import" })).await;
    let imported = server.post("/subjects/s/versions", &json!({ "schema": r#""int""#, "id": 40, "version": 3 })).await;
    assert_eq!((imported.json()["id"].clone(), imported.json()["version"].clone()), (json!(40), json!(3)));
    server.delete("/mode/s").await;
    assert_eq!(server.register("t", r#""long""#).await, 41);
    server.stop().await;
}

#[tokio::test]
async fn deleting_softly_and_for_good() {
    let server = Running::memory().await;
    for fields in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
        server.register("s", &record(fields)).await;
    }
    assert_eq!(server.delete("/subjects/s/versions/1?permanent=true").await.error_code(), 40407);
    assert_eq!(server.delete("/subjects/s/versions/1").await.text, "1");
    assert_eq!(server.delete("/subjects/s/versions/1").await.error_code(), 40406);
    assert_eq!(server.get("/subjects/s/versions").await.text, "[2,3]");
    assert_eq!(server.get("/subjects/s/versions?deleted=true").await.text, "[1,2,3]");
    assert_eq!(server.get("/subjects/s/versions?deletedOnly=true").await.text, "[1]");
    assert_eq!(server.get("/subjects/s/versions?deleted=true&deletedAsNegative=true").await.text, "[-1,2,3]");
    assert_eq!(server.get("/subjects/s/versions/1?deleted=true").await.json()["deleted"], true);
    assert_eq!(server.get("/schemas/ids/1").await.status, 200);
    assert_eq!(server.delete("/subjects/s/versions/1?permanent=True").await.text, "1");
    assert_eq!(server.get("/schemas/ids/1").await.error_code(), 40403);
    assert_eq!(server.delete("/subjects/s/versions/latest").await.text, "3");
    assert_eq!(server.delete("/subjects/s").await.text, "[2]");
    assert_eq!(server.delete("/subjects/s").await.error_code(), 40404);
    assert_eq!(server.get("/subjects").await.text, "[]");
    assert_eq!(server.get("/subjects?deleted=true").await.text, r#"["s"]"#);
    assert_eq!(server.delete("/subjects/s?permanent=true").await.text, "[2,3]");
    assert_eq!(server.delete("/subjects/s?permanent=true").await.error_code(), 40401);
    assert_eq!(server.register("s", &record(&["a"])).await, 4);
    server.stop().await;
}

#[tokio::test]
async fn listings_come_in_pages() {
    let server = Running::memory().await;
    for name in ["a1", "a2", "b1", ":.lab:a1"] {
        server.register(name, r#""int""#).await;
    }
    let list = async |query: &str| server.get(&format!("/subjects{query}")).await.json();
    assert_eq!(list("").await, json!([":.lab:a1", "a1", "a2", "b1"]));
    assert_eq!(list("?subjectPrefix=a").await, json!(["a1", "a2"]));
    assert_eq!(list("?subjectPrefix=%3A*%3Aa&offset=1&limit=1").await, json!(["a1"]));
    assert_eq!(list("?subjectPrefix=:.lab:").await, json!([":.lab:a1"]));
    let schemas: Json = server.get("/schemas?subjectPrefix=a&latestOnly=true&limit=1&offset=1").await.json();
    assert_eq!((schemas.as_array().unwrap().len(), schemas[0]["subject"].clone()), (1, json!("a2")));
    assert_eq!(server.get("/subjects?limit=x").await.status, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_get_one_id_for_one_schema_and_different_ones_for_different_schemas() {
    let server = std::sync::Arc::new(Running::memory().await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let server = std::sync::Arc::clone(&server);
        tasks.spawn(async move {
            let same = server.register(&format!("same{}", n % 4), r#""int""#).await;
            let own = server.register(&format!("own{n}"), &record(&[&format!("f{n}")])).await;
            (same, own)
        });
    }
    let ids = tasks.join_all().await;
    assert!(ids.iter().all(|(same, _)| *same == ids[0].0), "{ids:?}");
    let own: std::collections::BTreeSet<u64> = ids.iter().map(|(_, own)| *own).collect();
    assert_eq!(own.len(), 40);
}
