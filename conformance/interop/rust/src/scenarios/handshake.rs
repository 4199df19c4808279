//! Opening sessions and keeping them open.

use std::time::Duration;

use arcp::messages::Capabilities;
use serde_json::json;

use crate::ensure;
use crate::world::{Outcome, World, text};

pub async fn a_session_opens_and_tells_its_agents(world: World) -> Outcome {
    let alice = world.alice().await?;
    let id = alice.id().await.map_err(text)?;
    ensure!(id.as_str().starts_with("sess_"), "the session is {id}");
    let agents = alice.capabilities().await.agents.ok_or("no agents")?.into_rich();
    let echo = agents.iter().find(|agent| agent.name == "echo").ok_or("no echo")?;
    ensure!(echo.versions == ["1.0.0", "2.0.0"], "its versions are {:?}", echo.versions);
    ensure!(echo.default.as_deref() == Some("2.0.0"), "its default is {:?}", echo.default);
    Ok(())
}

pub async fn capabilities_are_what_both_can_do(world: World) -> Outcome {
    let both = world.alice_streaming().await?.capabilities().await;
    ensure!(both.streaming == Some(true), "streaming: {:?}", both.streaming);
    ensure!(both.subscriptions == Some(true), "subscriptions: {:?}", both.subscriptions);
    ensure!(both.artifacts == Some(false), "artifacts: {:?}", both.artifacts);
    ensure!(both.interrupt.is_none(), "interrupt: {:?}", both.interrupt);
    let whole = world.alice().await?.capabilities().await;
    ensure!(whole.streaming.is_none(), "streaming: {:?}", whole.streaming);
    Ok(())
}

pub async fn a_wrong_token_is_refused(world: World) -> Outcome {
    match world.with("definitely-wrong", Capabilities::default()).await {
        Ok(_) => Err("it was let in".into()),
        Err(refused) => {
            ensure!(refused.to_string().contains("UNAUTHENTICATED"), "{refused}");
            world.alice().await.map(drop)
        }
    }
}

pub async fn an_idle_session_lives_through_three_heartbeat_intervals(world: World) -> Outcome {
    let alice = world.alice().await?;
    tokio::time::sleep(3 * world.heartbeat + Duration::from_millis(500)).await;
    let job = alice.invoke("echo", json!(1)).await.map_err(text)?;
    ensure!(job.join().await.map_err(text)? == json!(1), "another value");
    Ok(())
}

pub async fn many_sessions_live_side_by_side(world: World) -> Outcome {
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(world.alice().await?);
    }
    for (n, session) in sessions.iter().enumerate() {
        let job = session.invoke("echo", json!(n)).await.map_err(text)?;
        ensure!(job.join().await.map_err(text)? == json!(n), "session {n} got another value");
    }
    Ok(())
}
