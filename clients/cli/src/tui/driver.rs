//! The loop between terminal, client and model. It waits for nothing but the next thing that happens: what takes time is done
//! beside it.

use std::{future::pending, io, sync::Arc, time::Duration};

use crossterm::event::{Event as Terminal, EventStream as Keys};
use futures_util::{FutureExt as _, StreamExt as _};
use qpc_sdk::{Client, ConversationId, EventStream, Runtime};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    time::{Interval, MissedTickBehavior, interval},
};

use super::{
    Ending,
    model::Model,
    terminal::Screen,
    update::{Answer, Effect, Input, update},
    work::{Desk, Programs, carry_out},
};
use crate::{commands::compose, settings::Place};

/// What may wait in a lane, and among the answers.
const QUEUE: usize = 256;
/// Things that happen before what they come to is drawn.
const BEFORE_DRAWING: usize = 256;
/// Time between two looks at the clock, while it matters.
const TICK: Duration = Duration::from_secs(1);

/// Effects that are carried out one after another. What waits for the server does not hold up what is read from the store,
/// and neither does a long search hold up what is sent. What was written is finished when the person leaves, the rest is not.
struct Lanes {
    reading: mpsc::Sender<Effect>,
    writing: mpsc::Sender<Effect>,
    asking: mpsc::Sender<Effect>,
    whispering: mpsc::Sender<Effect>,
    moving: mpsc::Sender<Effect>,
}

impl Lanes {
    fn new(
        runtime: &Runtime,
        client: &Client,
        place: &Place,
        programs: &Programs,
        answers: &mpsc::Sender<Answer>,
    ) -> Self {
        let (listed, pictures) = (Arc::default(), Arc::default());
        let lane = |finishes: bool| {
            let (sender, mut effects) = mpsc::channel(QUEUE);
            let desk = Desk {
                place: place.clone(),
                programs: programs.clone(),
                client: client.clone(),
                runtime: runtime.clone(),
                answers: answers.clone(),
                listed: Arc::clone(&listed),
                pictures: Arc::clone(&pictures),
            };
            let stop = runtime.shutdown().clone();
            runtime.spawn(async move {
                while let Some(effect) = effects.recv().await {
                    let answer = tokio::select! {
                        answer = carry_out(&desk, effect) => answer,
                        () = stop.cancelled(), if !finishes => return,
                    };
                    if let Some(answer) = answer {
                        // Whoever has left wants no answers, but that what was written is kept.
                        let _ = desk.answers.send(answer).await;
                    }
                }
            });
            sender
        };
        Self {
            reading: lane(false),
            writing: lane(true),
            asking: lane(false),
            whispering: lane(false),
            moving: lane(false),
        }
    }

    /// The effect, if there is no room for it.
    #[allow(clippy::result_large_err, reason = "it is handed back, not an error that travels")]
    fn put(&self, effect: Effect) -> Result<(), Effect> {
        let lane = match &effect {
            Effect::Upload { .. } | Effect::Download { .. } => &self.moving,
            Effect::Folder(_)
            | Effect::Conversations
            | Effect::Messages(..)
            | Effect::Members(_)
            | Effect::Search(..)
            | Effect::Day(..) => &self.reading,
            Effect::Typing(..) => &self.whispering,
            Effect::Connect | Effect::Run(..) | Effect::Report(..) | Effect::Browse(_) => &self.asking,
            _ => &self.writing,
        };
        lane.try_send(effect).map_err(mpsc::error::TrySendError::into_inner)
    }
}

/// What happens at the terminal.
struct Keyboard {
    keys: mpsc::Receiver<Terminal>,
    /// Dropped, it ends the reading.
    stop: oneshot::Sender<()>,
}

impl Keyboard {
    /// Reads no more. What is typed from now on is somebody else's.
    async fn leave(mut self) {
        drop(self.stop);
        while self.keys.recv().await.is_some() {}
    }
}

/// Reads until the terminal is gone. By a task of its own: the stream of the library wakes whoever has asked it first, although
/// somebody else may have asked since.
fn read_keys(runtime: &Runtime) -> Keyboard {
    let (sender, keys) = mpsc::channel(QUEUE);
    let (stop, mut stopped) = oneshot::channel();
    let shutdown = runtime.shutdown().clone();
    runtime.spawn(async move {
        let mut stream = Keys::new();
        loop {
            let key = tokio::select! {
                key = stream.next() => key,
                _ = &mut stopped => return,
                () = shutdown.cancelled() => return,
            };
            let Some(Ok(key)) = key else { return };
            if sender.send(key).await.is_err() {
                return;
            }
        }
    });
    Keyboard { keys, stop }
}

/// See the module.
pub(crate) struct Driver {
    runtime: Runtime,
    model: Model,
    screen: Screen,
    /// None while an editor has the terminal.
    keyboard: Option<Keyboard>,
    events: EventStream,
    answers: mpsc::Receiver<Answer>,
    answering: mpsc::Sender<Answer>,
    programs: Programs,
    lanes: Lanes,
    clock: Interval,
    signals: [Signal; 3],
}

impl Driver {
    pub(crate) fn new(
        runtime: Runtime,
        client: &Client,
        place: &Place,
        programs: Programs,
        events: EventStream,
        model: Model,
        screen: Screen,
    ) -> io::Result<Self> {
        let keyboard = Some(read_keys(&runtime));
        let (answering, answers) = mpsc::channel(QUEUE);
        let lanes = Lanes::new(&runtime, client, place, &programs, &answering);
        let mut clock = interval(TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let signals =
            [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?];
        Ok(Self { runtime, model, screen, keyboard, events, answers, answering, programs, lanes, clock, signals })
    }

    /// Until the person leaves, or is not let in.
    pub(crate) async fn run(mut self, drafts: Answer) -> io::Result<Ending> {
        let mut ending = self.step(Input::Answer(drafts))?;
        ending = ending.or(self.step(Input::Begin)?);
        loop {
            if let Some(ending) = ending {
                return Ok(ending);
            }
            if self.keyboard.is_some() {
                self.screen.draw(&mut self.model)?;
            }
            let input = self.next().await;
            ending = self.take(input)?;
            // All that has come meanwhile is drawn at once.
            for _ in 0..BEFORE_DRAWING {
                match self.next().now_or_never() {
                    Some(input) if ending.is_none() => ending = self.take(input)?,
                    _ => break,
                }
            }
        }
    }

    /// What happens next; none when the terminal or the client is gone.
    async fn next(&mut self) -> Option<Input> {
        let Self { keyboard, events, answers, clock, signals: [terminate, hang_up, interrupt], model, .. } = self;
        let lent = keyboard.is_none();
        let key = async {
            match keyboard {
                Some(keyboard) => keyboard.keys.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            key = key => key.map(Input::Terminal),
            event = events.next() => event.map(Input::Sdk),
            answer = answers.recv() => answer.map(Input::Answer),
            _ = clock.tick(), if model.is_waiting() => Some(Input::Tick),
            _ = terminate.recv() => None,
            _ = hang_up.recv() => None,
            // Of a person who means the editor.
            _ = interrupt.recv() => if lent { Some(Input::Tick) } else { None },
        }
    }

    fn take(&mut self, input: Option<Input>) -> io::Result<Option<Ending>> {
        let Some(input) = input else {
            // What was begun is kept.
            self.step(Input::Tick)?;
            return Ok(Some(Ending::Left));
        };
        self.step(input)
    }

    fn step(&mut self, input: Input) -> io::Result<Option<Ending>> {
        let resized = matches!(input, Input::Terminal(Terminal::Resize(..)));
        if matches!(input, Input::Answer(Answer::Edited(..))) {
            self.keyboard = Some(read_keys(&self.runtime));
            self.screen.resume()?;
        }
        let effects = update(&mut self.model, self.runtime.now_ms(), input);
        if resized {
            self.screen.forget()?;
        }
        for effect in effects {
            match effect {
                Effect::Quit => return Ok(Some(Ending::Left)),
                Effect::Refused(error) => return Ok(Some(Ending::Refused(error))),
                Effect::Copy(text) => self.screen.copy(&text)?,
                Effect::Ring(line) => self.screen.ring(&line)?,
                Effect::Redraw => self.screen.forget()?,
                Effect::Suspend => self.screen.suspend()?,
                Effect::Editor(id, text) => self.lend(id, text),
                effect => {
                    if let Err(refused) = self.lanes.put(effect) {
                        self.refused(refused);
                    }
                }
            }
        }
        Ok(None)
    }

    /// The editor has the terminal, until its answer is here. What comes meanwhile is taken, and shown afterwards.
    fn lend(&mut self, id: ConversationId, text: String) {
        let Some(keyboard) = self.keyboard.take() else { return };
        self.screen.lend();
        let (runtime, answers) = (self.runtime.clone(), self.answering.clone());
        let editor = self.programs.editor.clone();
        self.runtime.spawn(async move {
            keyboard.leave().await;
            let written = runtime.blocking(move || compose(editor.as_deref(), &text)).await;
            let written = written
                .map_or_else(|| Err("interrupted".to_owned()), |written| written.map_err(|error| format!("{error:#}")));
            let _ = answers.send(Answer::Edited(id, written)).await;
        });
    }

    /// There was too much to do.
    fn refused(&mut self, effect: Effect) {
        let why = "too much at once; try again".to_owned();
        let answer = match effect {
            Effect::Send(id, draft) => Answer::NotSent(id, draft, why),
            Effect::Keep(id, _) => Answer::NotKept(id),
            Effect::Upload { transfer, .. } | Effect::Download { transfer, .. } => {
                self.model.transfers.remove(&transfer);
                Answer::Failed(why)
            }
            _ => Answer::Failed(why),
        };
        let effects = update(&mut self.model, self.runtime.now_ms(), Input::Answer(answer));
        debug_assert!(effects.is_empty(), "an answer that asks for more: {effects:?}");
    }
}
