//! Results as `join` returns them.

use serde_json::{Value, json};

use super::jobs::outcome;
use crate::ensure;
use crate::world::{Outcome, World, text};

pub async fn a_result_of_700_kilobytes_comes_whole(world: World) -> Outcome {
    let alice = world.alice().await?;
    let given = json!("x".repeat(700_000));
    ensure!(outcome(&alice, "echo", given.clone()).await.map_err(text)? == given, "another value");
    Ok(())
}

pub async fn a_small_chunked_result_comes_whole(world: World) -> Outcome {
    let alice = world.alice().await?;
    let input = json!({ "chunks": 4, "chunk_bytes": 5, "encoding": "utf8" });
    let value = outcome(&alice, "chunker", input).await.map_err(text)?;
    ensure!(value == json!("abcdefghijklmnopqrst"), "got {value}");
    let large = json!({ "chunks": 8, "chunk_bytes": 100_000, "encoding": "utf8" });
    let value = outcome(&alice, "chunker", large).await.map_err(text)?;
    ensure!(value.as_str().is_some_and(|text| text.len() == 800_000), "not 800,000 characters");
    Ok(())
}

/// As from the crate's own runtime: its `join` knows nothing of chunks.
pub async fn who_streams_gets_no_value(world: World) -> Outcome {
    let alice = world.alice_streaming().await?;
    let value = outcome(&alice, "chunker", json!({})).await.map_err(text)?;
    ensure!(value == Value::Null, "got {value}");
    Ok(())
}
