// SPDX-License-Identifier: Apache-2.0
using System;
using System.Diagnostics;
using System.Linq;
using System.Net;
using System.Threading;

namespace YoloQ.Modbus.Tests
{
    /// <summary>Events of a handshake, one a line: "now what key=value…"; says the registers after each.</summary>
    internal static class HandshakeScript
    {
        internal static int Run(Settings settings)
        {
            var order = (WordOrder)Enum.Parse(typeof(WordOrder), settings.Text("order", "ABCD"));
            RegisterBank bank = ResultMap.CreateBank(order);
            var handshake = new Handshake(bank, new HandshakeRules
            {
                Order = order,
                RequireAcknowledge = settings.Int("ack", 1) != 0,
                AcknowledgeMilliseconds = settings.Int("ack_ms", 5000),
                InspectionMilliseconds = settings.Int("inspect_ms", 10000)
            });
            string events = "";
            handshake.Triggered = (trigger, part) => events += " triggered:" + trigger + ":" + part;
            handshake.ErrorReset = () => events += " reset";
            string line;
            while ((line = Console.In.ReadLine()) != null)
            {
                events = "";
                string[] words = line.Split(' ');
                string shown = Step(handshake, bank, long.Parse(words[0]), words[1], new Settings(words));
                events += shown;
                Program.Say(string.Concat(bank.Read(0, ResultMap.Size).Select(word => word.ToString("x4"))) + events);
            }
            return 0;
        }

        private static string Step(Handshake handshake, RegisterBank bank, long now, string what, Settings values)
        {
            switch (what)
            {
                case "control":
                    bank[ResultMap.Control] = (ushort)values.Int("value", 0);
                    bank[ResultMap.PartIn] = (ushort)values.Int("part", 0);
                    handshake.ControlWritten(now);
                    return "";
                case "released":
                    handshake.ControlReleased();
                    return "";
                case "state":
                    handshake.SetState((LinkState)values.Int("value", 0), values.Int("code", 0));
                    return "";
                case "result": return handshake.Publish(values.Result(), now) ? " shown" : " dropped";
                case "tick":
                    handshake.Tick(now);
                    return "";
                default:
                    handshake.Beat();
                    return "";
            }
        }
    }

    /// <summary>A client; commands "f1 address count" … "f16 address v,v,v".</summary>
    internal static class ClientConsole
    {
        internal static int Run(Settings settings)
        {
            using (var client = new ModbusClient("127.0.0.1", settings.Int("port", 502), (byte)settings.Int("unit", 1),
                TimeSpan.FromMilliseconds(settings.Int("timeout", 1000))))
            {
                client.MaxBackOff = TimeSpan.FromMilliseconds(settings.Int("backoff", 400));
                string line;
                while ((line = Console.In.ReadLine()) != null && line != "quit")
                {
                    var clock = Stopwatch.StartNew();
                    string answer;
                    try
                    {
                        answer = "ok " + Command(client, line.Split(' '));
                    }
                    catch (Exception error)
                    {
                        var refused = error as ModbusResponseException;
                        string code = refused == null ? "-" : refused.Code.ToString();
                        answer = "error " + error.GetType().Name + " " + code + " " + string.Join(" ", error.Message.Split('\r', '\n'));
                    }
                    Program.Say(clock.ElapsedMilliseconds + " " + answer);
                }
            }
            return 0;
        }

        private static string Command(ModbusClient client, string[] words)
        {
            if (words[0] == "about")
            {
                return client.Connected + " " + client.DroppedAnswers;
            }
            int address = int.Parse(words[1]);
            int[] values = words[2].Split(',').Select(int.Parse).ToArray();
            switch (words[0])
            {
                case "f1": return Join(client.ReadCoils(address, values[0]));
                case "f2": return Join(client.ReadDiscreteInputs(address, values[0]));
                case "f3": return string.Join(",", client.ReadHoldingRegisters(address, values[0]));
                case "f4": return string.Join(",", client.ReadInputRegisters(address, values[0]));
                case "f5": client.WriteSingleCoil(address, values[0] != 0); return "";
                case "f6": client.WriteSingleRegister(address, (ushort)values[0]); return "";
                case "f15": client.WriteMultipleCoils(address, values.Select(v => v != 0).ToArray()); return "";
                default: client.WriteMultipleRegisters(address, values.Select(v => (ushort)v).ToArray()); return "";
            }
        }

        private static string Join(bool[] bits)
        {
            return string.Concat(bits.Select(bit => bit ? "1" : "0"));
        }
    }

    /// <summary>A link; says its events, takes commands.</summary>
    internal static class LinkConsole
    {
        internal static int Run(Settings settings)
        {
            var options = Options(settings);
            PlcLink link = settings.Text("connect", "") != ""
                ? PlcLink.Connect("127.0.0.1", settings.Int("connect", 0), options)
                : PlcLink.Serve(new IPEndPoint(IPAddress.Loopback, settings.Int("port", 0)), options);
            using (link)
            {
                int reply = settings.Int("reply", -1);  // ms: answer each trigger by itself
                link.Triggered += (sender, e) =>
                {
                    Program.Say("triggered " + e.Trigger + " " + e.Part);
                    if (reply >= 0)
                    {
                        Thread.Sleep(reply);
                        var counts = new[] { (int)e.Part, 1 };
                        link.Publish(new InspectionResult { Trigger = e.Trigger, Ok = e.Part % 2 == 0, CountsPerClass = counts });
                    }
                };
                link.ErrorReset += (sender, e) => Program.Say("reset");
                link.ConnectedChanged += (sender, e) => Program.Say("connected");
                link.HandlerFailed += (sender, e) => Program.Say("failed " + ((Exception)e.ExceptionObject).Message);
                link.Start();
                link.SetState(LinkState.Ready);  // before the test is told: its first trigger may come at once
                Program.Say("listening " + (link.EndPoint == null ? 0 : link.EndPoint.Port));
                string line;
                while ((line = Console.In.ReadLine()) != null && line != "quit")
                {
                    Program.Say("answer " + Command(link, line.Split(' ')));
                }
            }
            Program.Say("stopped");
            return 0;
        }

        private static PlcLinkOptions Options(Settings settings)
        {
            var options = new PlcLinkOptions
            {
                WordOrder = (WordOrder)Enum.Parse(typeof(WordOrder), settings.Text("order", "ABCD")),
                RequireAcknowledge = settings.Int("ack", 1) != 0,
                AcknowledgeTimeout = TimeSpan.FromMilliseconds(settings.Int("ack_ms", 5000)),
                InspectionTimeout = TimeSpan.FromMilliseconds(settings.Int("inspect_ms", 10000)),
                HeartbeatInterval = TimeSpan.FromMilliseconds(settings.Int("beat", 500)),
                RequestTimeout = TimeSpan.FromMilliseconds(settings.Int("timeout", 500)),
                ResultAddress = settings.Int("results", 0),
                ControlAddress = settings.Int("control", ResultMap.Control)
            };
            return options;
        }

        private static string Command(PlcLink link, string[] words)
        {
            var values = new Settings(words);
            switch (words[0])
            {
                case "state": link.SetState((LinkState)values.Int("value", 0), values.Int("code", 0)); return "";
                case "publish": return link.Publish(values.Result()).ToString();
                case "spin": return Spin(link, values.Int("ms", 1000));
                default: return link.Connected + " " + link.LastError;
            }
        }

        /// <summary>Publishes as fast as it can; every value of a result follows from its number.</summary>
        private static string Spin(PlcLink link, int milliseconds)
        {
            var clock = Stopwatch.StartNew();
            var longest = TimeSpan.Zero;
            long number = 0;
            while (clock.ElapsedMilliseconds < milliseconds)
            {
                number++;
                var value = (int)(number % 30000);
                TimeSpan start = clock.Elapsed;
                link.Publish(new InspectionResult
                {
                    Sequence = number,
                    Ok = number % 2 == 0,
                    CountsPerClass = Enumerable.Repeat(value, ResultMap.MaxClasses).ToArray(),
                    Best = new BestDetection { ClassId = value, X = value, Y = value, Width = value, Height = value }
                });
                TimeSpan took = clock.Elapsed - start;
                longest = took > longest ? took : longest;
            }
            double mean = clock.Elapsed.TotalMilliseconds * 1000 / number;
            return number + " " + mean.ToString("0.0") + " us mean, " + longest.TotalMilliseconds.ToString("0.00") + " ms longest";
        }
    }
}
