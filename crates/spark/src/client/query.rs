//! Streaming queries of a session.

use spark_connect_proto::execute_plan_response::ResponseType;
use spark_connect_proto::streaming_query_command::{AwaitTerminationCommand, Command as QueryCommand};
use spark_connect_proto::streaming_query_command_result::{ResultType, StatusResult};
use spark_connect_proto::streaming_query_manager_command::Command as ManagerCommand;
use spark_connect_proto::streaming_query_manager_command_result::ResultType as ManagerResult;
use spark_connect_proto::{
    StreamingQueryCommand, StreamingQueryInstanceId, StreamingQueryManagerCommand, WriteOperation,
    WriteStreamOperationStart, command,
};

use super::Session;
use crate::error::{Error, Result};

/// A query that runs in a session.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningQuery {
    /// Its name, if it was given one.
    pub name: Option<String>,
    id: StreamingQueryInstanceId,
}

/// A query that was just started.
pub type StartedQuery = RunningQuery;

impl Session {
    /// Starts a streaming query.
    ///
    /// # Errors
    /// What Spark says about the plan, the sink or the checkpoint.
    pub async fn start(&mut self, write: WriteStreamOperationStart) -> Result<RunningQuery> {
        let answers = self.command(command::CommandType::WriteStreamOperationStart(write)).await?;
        answers
            .into_iter()
            .find_map(|answer| match answer {
                ResponseType::WriteStreamOperationStartResult(started) => {
                    let name = Some(started.name).filter(|name| !name.is_empty());
                    started.query_id.map(|id| RunningQuery { name, id })
                }
                _ => None,
            })
            .ok_or_else(|| Error::Protocol("a query was started and has no id".to_owned()))
    }

    /// Writes a batch relation to its sink.
    ///
    /// # Errors
    /// What Spark says about the plan, the data or the sink.
    pub async fn write(&mut self, write: WriteOperation) -> Result<()> {
        self.command(command::CommandType::WriteOperation(write)).await.map(drop)
    }

    /// The session's queries that run.
    ///
    /// # Errors
    /// When Spark isn't there.
    pub async fn active(&mut self) -> Result<Vec<RunningQuery>> {
        let command = StreamingQueryManagerCommand { command: Some(ManagerCommand::Active(true)) };
        let answers = self.command(command::CommandType::StreamingQueryManagerCommand(command)).await?;
        let active = answers.into_iter().find_map(|answer| match answer {
            ResponseType::StreamingQueryManagerCommandResult(result) => match result.result_type {
                Some(ManagerResult::Active(active)) => Some(active.active_queries),
                _ => None,
            },
            _ => None,
        });
        let active = active.ok_or_else(|| Error::Protocol("no list of active queries".to_owned()))?;
        Ok(active.into_iter().filter_map(|query| Some(RunningQuery { name: query.name, id: query.id? })).collect())
    }

    /// Whether the query runs, and what it does.
    ///
    /// # Errors
    /// When Spark isn't there or doesn't know the query.
    pub async fn status(&mut self, query: &RunningQuery) -> Result<StatusResult> {
        match self.ask(query, QueryCommand::Status(true)).await? {
            Some(ResultType::Status(status)) => Ok(status),
            _ => Err(Error::Protocol("no status of a query".to_owned())),
        }
    }

    /// The query's last micro-batches as Spark's JSON, the newest last.
    ///
    /// # Errors
    /// When Spark isn't there or doesn't know the query.
    pub async fn recent_progress(&mut self, query: &RunningQuery) -> Result<Vec<String>> {
        match self.ask(query, QueryCommand::RecentProgress(true)).await? {
            Some(ResultType::RecentProgress(progress)) => Ok(progress.recent_progress_json),
            _ => Err(Error::Protocol("no progress of a query".to_owned())),
        }
    }

    /// Why the query ended, if it failed.
    ///
    /// # Errors
    /// When Spark isn't there or doesn't know the query.
    pub async fn failure(&mut self, query: &RunningQuery) -> Result<Option<Error>> {
        match self.ask(query, QueryCommand::Exception(true)).await? {
            Some(ResultType::Exception(exception)) => Ok(exception
                .exception_message
                .map(|message| Error::of_query(&message, exception.error_class.as_deref()))),
            _ => Ok(None),
        }
    }

    /// Waits until the query has ended; whether it has. The query's failure is an error.
    ///
    /// # Errors
    /// The failure, or that Spark isn't there.
    pub async fn wait(&mut self, query: &RunningQuery, timeout_ms: i64) -> Result<bool> {
        let command = QueryCommand::AwaitTermination(AwaitTerminationCommand { timeout_ms: Some(timeout_ms) });
        match self.ask(query, command).await? {
            Some(ResultType::AwaitTermination(result)) => Ok(result.terminated),
            _ => Err(Error::Protocol("no answer to waiting for a query".to_owned())),
        }
    }

    /// Waits until all that is in the source now has been processed.
    ///
    /// # Errors
    /// The query's failure, or that Spark isn't there.
    pub async fn process_all_available(&mut self, query: &RunningQuery) -> Result<()> {
        self.ask(query, QueryCommand::ProcessAllAvailable(true)).await.map(drop)
    }

    /// Stops the query; a batch that is under way is given up.
    ///
    /// # Errors
    /// When Spark isn't there.
    pub async fn stop(&mut self, query: &RunningQuery) -> Result<()> {
        self.ask(query, QueryCommand::Stop(true)).await.map(drop)
    }

    async fn ask(&mut self, query: &RunningQuery, ask: QueryCommand) -> Result<Option<ResultType>> {
        let command = StreamingQueryCommand { query_id: Some(query.id.clone()), command: Some(ask) };
        let answers = self.command(command::CommandType::StreamingQueryCommand(command)).await?;
        Ok(answers.into_iter().find_map(|answer| match answer {
            ResponseType::StreamingQueryCommandResult(result) => result.result_type,
            _ => None,
        }))
    }
}
