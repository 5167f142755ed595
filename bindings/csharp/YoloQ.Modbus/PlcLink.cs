// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Threading;

namespace YoloQ.Modbus
{
    /// <summary>
    /// A host's link to its PLC, as Modbus server or client behind one face: results out, triggers in, with the registers
    /// and the handshake of docs/modbus.md. No call waits for the network: inference is never held up by a slow or lost PLC,
    /// and the link recovers by itself. Thread-safe.
    /// <code>
    /// var link = PlcLink.Serve(new IPEndPoint(IPAddress.Any, 502));
    /// link.Triggered += (s, e) => link.Publish(Inspect(e.Trigger));
    /// link.Start();
    /// link.SetState(LinkState.Ready);
    /// </code>
    /// </summary>
    public sealed class PlcLink : IDisposable
    {
        private readonly PlcLinkOptions options;
        private readonly RegisterBank bank;
        private readonly Handshake handshake;
        private readonly ModbusServer server;  // one of the two is null
        private readonly PlcMirror mirror;
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private readonly AutoResetEvent wake = new AutoResetEvent(false);
        private readonly BlockingCollection<Action> events = new BlockingCollection<Action>();
        private Thread worker, dispatcher;
        private object writer;  // the connection that wrote `control` last
        private volatile bool stopping, connected;
        private volatile string lastError;
        private long nextBeat;

        private PlcLink(PlcLinkOptions options, Func<RegisterBank, ModbusServer> serve, Func<RegisterBank, PlcMirror> connect)
        {
            this.options = options;
            bank = ResultMap.CreateBank(options.WordOrder);
            handshake = new Handshake(bank, options.Rules());
            handshake.Triggered = (trigger, part) => Raise(Triggered, new TriggeredEventArgs(trigger, part));
            handshake.ErrorReset = () => Raise(ErrorReset, EventArgs.Empty);
            bank.Written += OnWritten;
            server = serve(bank);
            mirror = connect(bank);
            if (server != null)
            {
                server.ConnectionOpened += (sender, e) => OnConnections();
                server.ConnectionClosed += OnClosed;
            }
        }

        /// <summary>A link that the PLC connects to.</summary>
        /// <param name="endPoint">Where to listen, e.g. new IPEndPoint(IPAddress.Any, 502); port 0 picks a free one.</param>
        /// <param name="options">null: the defaults.</param>
        public static PlcLink Serve(IPEndPoint endPoint, PlcLinkOptions options = null)
        {
            options = Checked(options);
            return new PlcLink(options, bank => new ModbusServer(endPoint, bank)
            {
                Unit = options.Unit ?? 0,
                MaxConnections = options.MaxConnections,
                IdleTimeout = options.IdleTimeout
            }, bank => null);
        }

        /// <summary>A link that connects to the PLC, reads `control` there and writes the results there.</summary>
        /// <param name="host">Name or address of the PLC.</param>
        /// <param name="port">Its port, usually 502.</param>
        /// <param name="options">null: the defaults.</param>
        public static PlcLink Connect(string host, int port, PlcLinkOptions options = null)
        {
            options = Checked(options);
            return new PlcLink(options, bank => null, bank => new PlcMirror(
                new ModbusClient(host, port, options.Unit ?? 1, options.RequestTimeout),
                bank, options.ResultAddress, options.ControlAddress));
        }

        /// <summary>The PLC wants an inspection, to be answered by <see cref="Publish"/>. Raised on the link's event thread,
        /// one event at a time; a WinForms host goes on with BeginInvoke.</summary>
        public event EventHandler<TriggeredEventArgs> Triggered;

        /// <summary>The PLC has reset the error; a host in alarm may try again. Raised on the link's event thread.</summary>
        public event EventHandler ErrorReset;

        /// <summary><see cref="Connected"/> has changed. Raised on the link's event thread.</summary>
        public event EventHandler ConnectedChanged;

        /// <summary>A handler of an event has thrown this. Raised on the link's event thread; must not throw itself.</summary>
        public event EventHandler<UnhandledExceptionEventArgs> HandlerFailed;

        /// <summary>Is a PLC connected? Server: there is at least one client. Client: the last exchange got through.</summary>
        public bool Connected
        {
            get { return connected; }
        }

        /// <summary>Why there is no connection, in one sentence; null: there is one.</summary>
        public string LastError
        {
            get { return lastError; }
        }

        /// <summary>Where a server listens, with the real port after Start; null for a client.</summary>
        public IPEndPoint EndPoint
        {
            get { return server == null ? null : server.EndPoint; }
        }

        /// <summary>The registers as the PLC sees them, for a host's own display.</summary>
        public RegisterBank Registers
        {
            get { return bank; }
        }

        /// <summary>Starts to serve, or to connect. The state is Idle until <see cref="SetState"/>.</summary>
        /// <exception cref="ModbusConnectionException">The server's port is taken or not allowed.</exception>
        /// <exception cref="InvalidOperationException">It was started before.</exception>
        public void Start()
        {
            if (worker != null)
            {
                throw new InvalidOperationException("the link was started before: make a new one");
            }
            lastError = server == null ? "not connected yet" : "no PLC has connected yet";
            if (server != null)
            {
                server.Start();
            }
            worker = new Thread(Work) { IsBackground = true, Name = "yoloq plc" };
            dispatcher = new Thread(Dispatch) { IsBackground = true, Name = "yoloq plc events" };
            dispatcher.Start();
            worker.Start();
        }

        /// <summary>Shows a result to the PLC, all of its registers at once. Returns at once, also without a connection.</summary>
        /// <param name="result">The result; it is copied.</param>
        /// <returns>False: it is not shown. It answers a trigger that was already given up (inspection timeout), or none
        /// (<see cref="InspectionResult.NoTrigger"/>) while the PLC has one under way.</returns>
        public bool Publish(InspectionResult result)
        {
            if (result == null)
            {
                throw new ArgumentNullException("result");
            }
            bool shown = false;
            bank.Update(() => shown = handshake.Publish(result, clock.ElapsedMilliseconds));
            wake.Set();
            return shown;
        }

        /// <summary>Tells the PLC what the host does: Ready takes triggers, Running too (for a host that also inspects by
        /// itself), Idle and Alarm refuse them. Returns at once.</summary>
        /// <param name="state">The state.</param>
        /// <param name="error">For Alarm: the code for register `error`, see <see cref="LinkError"/>; a host's own from 100.</param>
        public void SetState(LinkState state, int error = 0)
        {
            bank.Update(() => handshake.SetState(state, error));
            wake.Set();
        }

        /// <summary>Tells the PLC Idle if it can be reached, and ends; waits for a request under way, a few times
        /// <see cref="PlcLinkOptions.RequestTimeout"/> at most. Not to be called from one of the link's events.</summary>
        public void Dispose()
        {
            if (worker == null || stopping)
            {
                return;
            }
            SetState(LinkState.Idle);
            stopping = true;
            wake.Set();
            worker.Join();
            if (server != null)
            {
                server.Dispose();
            }
            else
            {
                mirror.Dispose();
            }
            events.CompleteAdding();
            dispatcher.Join();
        }

        private static PlcLinkOptions Checked(PlcLinkOptions options)
        {
            options = options ?? new PlcLinkOptions();
            options.Check();
            return options;
        }

        private void OnWritten(object sender, RegistersWrittenEventArgs e)  // inside the bank's lock
        {
            if (e.Address <= ResultMap.Control && e.Address + e.Count > ResultMap.Control)
            {
                writer = e.Peer;
                handshake.ControlWritten(clock.ElapsedMilliseconds);
            }
        }

        private void OnClosed(object sender, ConnectionEventArgs e)
        {
            bank.Update(() =>
            {
                if (writer == e.Peer)
                {
                    writer = null;
                    handshake.ControlReleased();
                }
            });
            OnConnections();
        }

        private void OnConnections()
        {
            lock (events)  // two connections that come and go at once
            {
                bool any = server.ConnectionCount > 0;
                SetConnected(any, any ? null : "no PLC is connected");
            }
        }

        private void SetConnected(bool now, string error)
        {
            bool changed = connected != now;
            connected = now;
            lastError = error;
            if (changed)
            {
                Raise(ConnectedChanged, EventArgs.Empty);
            }
        }

        private void Work()
        {
            var interval = mirror == null ? TimeSpan.FromMilliseconds(10) : options.PollInterval;
            do
            {
                long now = clock.ElapsedMilliseconds;
                bank.Update(() => handshake.Tick(now));
                if (now >= nextBeat)
                {
                    nextBeat = now + (long)options.HeartbeatInterval.TotalMilliseconds;
                    bank.Update(handshake.Beat);
                }
                if (mirror != null)
                {
                    Exchange();
                }
                wake.WaitOne(stopping ? TimeSpan.Zero : interval);
            } while (!stopping);
            if (mirror != null && connected)
            {
                Exchange();  // the last word: Idle
            }
        }

        private void Exchange()
        {
            try
            {
                mirror.Exchange();
                SetConnected(true, null);
            }
            catch (ModbusException error)
            {
                SetConnected(false, error.Message);
            }
            catch (Exception error)  // whatever it is, the next round tries again
            {
                SetConnected(false, error.GetType().Name + ": " + error.Message);
            }
        }

        private void Raise<T>(EventHandler<T> handler, T e) where T : EventArgs
        {
            Raise(handler == null ? null : new EventHandler((sender, args) => handler(sender, e)), e);
        }

        private void Raise(EventHandler handler, EventArgs e)
        {
            if (handler != null && !events.IsAddingCompleted)
            {
                events.Add(() => handler(this, e));
            }
        }

        private void Dispatch()
        {
            foreach (Action raise in events.GetConsumingEnumerable())
            {
                try
                {
                    raise();
                }
                catch (Exception error)
                {
                    EventHandler<UnhandledExceptionEventArgs> failed = HandlerFailed;
                    if (failed != null)
                    {
                        failed(this, new UnhandledExceptionEventArgs(error, false));
                    }
                }
            }
        }
    }
}
