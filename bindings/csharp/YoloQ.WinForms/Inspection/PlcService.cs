// SPDX-License-Identifier: Apache-2.0
using System;
using System.Net;
using System.Threading;
using YoloQ.Modbus;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Inspection
{
    public enum PlcState
    {
        Off,
        /// <summary>Switched on, but nobody is at the other end.</summary>
        Waiting,
        Connected
    }

    /// <summary>
    /// Keeps a <see cref="PlcLink"/> as the settings want it. Thread-safe, and nothing waits for the network: links are
    /// made and ended on the thread pool.
    /// </summary>
    public sealed class PlcService : IDisposable
    {
        private readonly Journal _log;
        private readonly Action _trigger;
        private readonly Action _acknowledge;
        private readonly object _changing = new object();
        private readonly object _telling = new object(); // the link and the state it was told go together
        private PlcSettings _wanted = new PlcSettings();
        private PlcSettings _current = new PlcSettings();
        private volatile PlcLink _link;
        private bool _ended;
        private LinkState _state = LinkState.Idle;
        private long _triggers;
        private long _asked = InspectionResult.NoTrigger; // the trigger that the next picture answers

        /// <param name="trigger">the PLC wants a picture; on a thread of the link's</param>
        /// <param name="acknowledge">the PLC has reset the error; likewise</param>
        public PlcService(Journal log, Action trigger, Action acknowledge)
        {
            _log = log;
            _trigger = trigger;
            _acknowledge = acknowledge;
        }

        public PlcState State
        {
            get
            {
                PlcLink link = _link;
                bool wanted = Volatile.Read(ref _wanted).Enabled;
                return link != null && link.Connected ? PlcState.Connected : wanted ? PlcState.Waiting : PlcState.Off;
            }
        }

        /// <summary>How often the PLC has asked for a picture.</summary>
        public long Triggers
        {
            get { return Interlocked.Read(ref _triggers); }
        }

        public void Configure(PlcSettings settings)
        {
            PlcSettings wanted = settings.Copy();
            if (!Same(wanted, Volatile.Read(ref _wanted)))
            {
                Volatile.Write(ref _wanted, wanted);
                ThreadPool.QueueUserWorkItem(state => Reconcile());
            }
        }

        /// <summary>The trigger that a picture taken from now on answers; the caller hands it back with the result.</summary>
        public long TakeTrigger()
        {
            return Interlocked.Exchange(ref _asked, InspectionResult.NoTrigger);
        }

        /// <summary>Tells the PLC about one inspected picture.</summary>
        /// <param name="trigger">from <see cref="TakeTrigger"/></param>
        public void Publish(InspectedFrame frame, int classCount, long trigger)
        {
            PlcLink link = _link;
            if (link == null)
            {
                return;
            }
            var counts = new int[classCount];
            for (int i = 0; i < frame.Count; i++)
            {
                if (frame.Found[i].ClassId >= 0 && frame.Found[i].ClassId < classCount)
                {
                    counts[frame.Found[i].ClassId]++;
                }
            }
            link.Publish(new InspectionResult
            {
                Sequence = frame.Sequence,
                Trigger = trigger,
                Ok = frame.Verdict.Ok,
                CountsPerClass = counts,
                Best = frame.Count == 0 ? null : BestOf(frame.Found[0]),
                LatencyMilliseconds = trigger == InspectionResult.NoTrigger ? frame.TotalMs : (double?)null
            });
        }

        /// <summary>Tells the PLC that there is no judgement, and why (<see cref="LinkError"/>).</summary>
        public void PublishError(int error, long trigger)
        {
            PlcLink link = _link;
            if (link != null)
            {
                link.Publish(new InspectionResult { Error = error, Trigger = trigger });
            }
        }

        /// <summary>Tells the PLC what the station does.</summary>
        public void SetState(bool running, bool triggered, bool fault)
        {
            // a fault does not refuse triggers: each is answered with its error, and the first that works ends the fault
            LinkState state = !running ? LinkState.Idle : triggered ? LinkState.Ready : fault ? LinkState.Alarm : LinkState.Running;
            lock (_telling)
            {
                if (state != _state)
                {
                    _state = state;
                    Tell(_link, state);
                }
            }
        }

        public void Dispose()
        {
            lock (_changing)
            {
                _ended = true;
                End();
            }
        }

        private void Reconcile()
        {
            lock (_changing)
            {
                PlcSettings wanted = Volatile.Read(ref _wanted);
                if (_ended || Same(wanted, _current))
                {
                    return;
                }
                End();
                _current = wanted;
                if (!wanted.Enabled)
                {
                    return;
                }
                try
                {
                    Begin(wanted);
                }
                catch (Exception error) // a taken port, a wrong address: the line runs without the PLC and says so
                {
                    _log.Add(Severity.Error, "log.plc_failed", error.Message);
                }
            }
        }

        private void Begin(PlcSettings wanted)
        {
            var options = new PlcLinkOptions { Unit = (byte)wanted.Unit };
            PlcLink link = wanted.Server
                ? PlcLink.Serve(new IPEndPoint(AddressOf(wanted.Host), wanted.Port), options)
                : PlcLink.Connect(wanted.Host, wanted.Port, options);
            link.Triggered += (sender, e) =>
            {
                Interlocked.Increment(ref _triggers);
                Interlocked.Exchange(ref _asked, e.Trigger);
                _trigger();
            };
            link.ErrorReset += (sender, e) => _acknowledge();
            link.ConnectedChanged += (sender, e) =>
                _log.Add(link.Connected ? Severity.Good : Severity.Warning, link.Connected ? "log.plc_on" : "log.plc_off");
            try
            {
                link.Start();
            }
            catch
            {
                link.Dispose();
                throw;
            }
            lock (_telling)
            {
                _link = link;
                Tell(link, _state);
            }
            _log.Add(Severity.Info, wanted.Server ? "log.plc_serving" : "log.plc_connecting", wanted.Host, wanted.Port);
        }

        private void End()
        {
            PlcLink link = _link;
            _link = null;
            if (link != null)
            {
                link.Dispose();
            }
        }

        private static void Tell(PlcLink link, LinkState state)
        {
            if (link != null)
            {
                link.SetState(state, state == LinkState.Alarm ? LinkError.Detector : LinkError.None);
            }
        }

        private static BestDetection BestOf(Detection found)
        {
            return new BestDetection
            {
                ClassId = found.ClassId,
                Score = found.Score,
                X = found.CenterX,
                Y = found.CenterY,
                Width = found.Width,
                Height = found.Height,
                AngleDegrees = (float)(found.Angle * 180 / Math.PI)
            };
        }

        private static IPAddress AddressOf(string host)
        {
            IPAddress address;
            return IPAddress.TryParse(host, out address) ? address : Dns.GetHostAddresses(host)[0];
        }

        private static bool Same(PlcSettings a, PlcSettings b)
        {
            return a.Enabled == b.Enabled && a.Server == b.Server && a.Host == b.Host && a.Port == b.Port && a.Unit == b.Unit;
        }
    }
}
